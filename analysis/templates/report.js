"use strict";

// Shows the rows of a table that have every word typed above it and, where there are chips, one of the chosen verdicts.
const addFilter = (box) => {
  const [input, output] = [box.querySelector("input"), box.querySelector("output")];
  const table = document.getElementById(input.getAttribute("aria-controls"));
  const chips = document.querySelector(`.chips[data-table="${table.id}"]`);
  const rows = [...table.tBodies].flatMap((body) => [...body.rows]);
  const chosen = new Set();
  const filter = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const fits = !chosen.size || chosen.has(row.cells[chips.dataset.column].innerText.trim());
      row.hidden = !(fits && words.every((word) => text.includes(word)));
    }
    const shown = rows.filter((row) => !row.hidden).length;
    output.value = words.length || chosen.size ? `${shown} of ${rows.length} rows` : "";
  };
  box.hidden = false;
  input.addEventListener("input", filter);
  if (!chips) return;
  const texts = rows.map((row) => row.cells[chips.dataset.column].innerText.trim());
  for (const text of new Set(texts)) {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.textContent = `${text} ${texts.filter((other) => other === text).length}`;
    chip.setAttribute("aria-pressed", "false");
    chip.addEventListener("click", () => {
      chosen.has(text) ? chosen.delete(text) : chosen.add(text);
      chip.setAttribute("aria-pressed", chosen.has(text));
      filter();
    });
    chips.append(chip);
  }
  chips.hidden = false;
};

// Steps through the images of a network. A wish is remembered: where a network lacks it, the nearest is shown.
const addPanel = (panel, { kinds, figures, inputs, arms }, changed) => {
  const [arm, kind] = panel.querySelectorAll("select");
  const [dim, step] = panel.querySelectorAll("input");
  const [image, caption] = [panel.querySelector(".drawing"), panel.querySelector("figcaption")];
  const wanted = { kind: "", dim: Number.MAX_VALUE, step: Number.MAX_VALUE };
  let steps = [];
  const fill = (select, names, chosen) =>
    select.replaceChildren(...names.map((name) => new Option(name, name, false, name === chosen)));
  const slide = (input, values, target, text) => {
    const away = values.map((value) => Math.abs(value - target));
    input.max = values.length - 1;
    input.value = away.lastIndexOf(Math.min(...away));
    input.disabled = values.length < 2;
    input.setAttribute("aria-valuetext", text(values[input.value]));
    panel.querySelector(`output[for="${input.id}"]`).value = text(values[input.value]);
    return values[input.value];
  };
  const draw = (control) => {
    const networks = arms[arm.value];
    if (control === kind) wanted.kind = kind.value;
    if (control === dim) wanted.dim = networks[dim.value].dim;
    if (control === step) wanted.step = steps[step.value];
    slide(dim, networks.map((one) => one.dim), wanted.dim, (value) => `N = ${value}`);
    const network = networks[dim.value];
    const has = Object.keys(kinds).filter((name) => name in network.strips);
    fill(kind, has, wanted.kind);
    const strips = network.strips[kind.value];
    const when = (value) => (value ? `${value.toLocaleString("en")} steps` : "closed form, not trained");
    steps = Object.keys(strips).map(Number).sort((a, b) => a - b);
    const at = slide(step, steps, wanted.step, when);
    const measured = kind.value === "reconstruction" && network.nll[at] !== undefined;
    const loss = measured ? `; test NLL ${network.nll[at].toFixed(1)} nats per image` : "";
    const lacks = wanted.kind && !has.includes(wanted.kind) ? ` No ${wanted.kind} of it was recorded.` : "";
    panel.querySelector(".shown").textContent = kind.value;
    panel.querySelector(".drawn").hidden = !(kind.value in figures);
    panel.querySelector(".figure").textContent = figures[kind.value] ?? "";
    for (const part of panel.querySelectorAll(".inputs")) {
      part.hidden = kind.value !== "reconstruction";
      if (part.tagName === "IMG") [part.src, part.alt] = [inputs[network.inputs], "test images"];
    }
    image.src = strips[at];
    image.alt = `${kind.value}: ${network.cell}, ${when(at)}`;
    caption.textContent = `${network.cell}, seed ${network.seed}, ${when(at)}${loss}.${lacks} ${kinds[kind.value]}`;
    if (control) changed();
  };
  fill(arm, Object.keys(arms));
  for (const control of [arm, kind, dim, step]) control.addEventListener("input", () => draw(control));
  draw();
  return {
    state: () => [arm.value, kind.value, arms[arm.value][dim.value].dim, steps[step.value]].join("~"),
    restore: (state) => {
      const [name, images, latents, at] = state.split("~");
      if (!(name in arms)) return;
      arm.value = name;
      Object.assign(wanted, { kind: images, dim: Number(latents), step: Number(at) });
      draw();
    },
  };
};

// Two panels, the second on request. The address holds what they show, so that it can be sent to somebody else.
const addViewer = (viewer) => {
  const data = JSON.parse(viewer.querySelector("script").textContent);
  const [first, second] = viewer.querySelectorAll(".panel");
  const compare = viewer.querySelector(".compare");
  const changed = () => {
    const shown = second.hidden ? [panels[0]] : panels;
    history.replaceState(null, "", `#${viewer.id}?${shown.map((panel) => encodeURIComponent(panel.state())).join("&")}`);
  };
  const panels = [first, second].map((panel) => addPanel(panel, data, changed));
  const show = (both) => {
    second.hidden = !both;
    compare.setAttribute("aria-pressed", both);
  };
  compare.addEventListener("click", () => {
    if (second.hidden) panels[1].restore(panels[0].state());
    show(second.hidden);
    changed();
  });
  viewer.hidden = false;
  viewer.restore = (states) => {
    states.forEach((state, index) => panels[index]?.restore(decodeURIComponent(state)));
    show(states.length > 1);
  };
};

// Shows the values of the point under the pointer, and hides series: by the legend, or by buttons below the figure.
const addPlot = (box) => {
  const { series, axes } = JSON.parse(box.dataset.plot);
  const svg = box.querySelector("svg");
  // Places in the SVG are rounded: along x, a value that is all but a number of three digits is that number.
  const value = (axis, share, digitsOfPlaces = 0) => {
    if (!axis) return [];
    const [name, low, high, scale] = axis;
    let at = scale === "log" ? low * (high / low) ** share : low + (high - low) * share;
    const near = digitsOfPlaces ? Number(at.toPrecision(digitsOfPlaces)) : at;
    if (Math.abs(near - at) < 1e-3 * Math.abs(at)) at = near;
    const digits = Math.abs(at) >= 1000 ? 0 : 4;
    return [`${name}: ${at.toLocaleString("en", digits ? { maximumSignificantDigits: digits } : { maximumFractionDigits: 0 })}`];
  };
  const places = (part) => {
    const path = part.querySelector(":scope > path")?.getAttribute("d");
    if (path) return [...path.matchAll(/[ML] (-?[\d.]+) (-?[\d.]+)/g)].map((match) => match.slice(1).map(Number));
    return [...part.querySelectorAll("use")].map((use) => [use.x.baseVal.value, use.y.baseVal.value]);
  };
  let points;
  const read = () =>
    [...svg.querySelectorAll("[data-axes]")].flatMap((group) => {
      const axis = axes[group.dataset.axes];
      const [left, top, right, bottom] = axis.box;
      return [...group.querySelectorAll("[data-series]")]
        .flatMap((part) => places(part).map(([x, y]) => ({ x, y, part, axis })))
        .filter(({ x, y }) => x >= left - 1 && x <= right + 1 && y >= top - 1 && y <= bottom + 1);
    });
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  box.append(tip);
  svg.addEventListener("pointermove", (event) => {
    points ??= read();
    const matrix = svg.getScreenCTM();
    const spot = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
    let [nearest, least] = [null, 30 / matrix.a];
    for (const point of points) {
      const away = Math.hypot(point.x - spot.x, point.y - spot.y);
      if (away < least && point.part.style.display !== "none") [nearest, least] = [point, away];
    }
    tip.hidden = !nearest;
    if (!nearest) return;
    const [left, top, right, bottom] = nearest.axis.box;
    const lines = [
      series[nearest.part.dataset.series],
      ...value(nearest.axis.x, (nearest.x - left) / (right - left), 3),
      ...value(nearest.axis.y, (bottom - nearest.y) / (bottom - top)),
    ];
    tip.textContent = lines.join("\n");
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${event.clientY + 14}px`;
  });
  svg.addEventListener("pointerleave", () => (tip.hidden = true));
  if (series.length < 2) return;
  const folded = document.createElement("details");
  folded.className = "series";
  folded.innerHTML = '<summary>hide series</summary><div class="chips"></div>';
  const chips = series.map((text, number) => {
    const parts = svg.querySelectorAll(`[data-series="${number}"]`);
    if (!parts.length) return null;
    const chip = document.createElement("button");
    chip.type = "button";
    chip.textContent = text;
    chip.setAttribute("aria-pressed", "true");
    const entries = svg.querySelectorAll(`[data-legend="${number}"]`);
    const toggle = () => {
      const shown = chip.getAttribute("aria-pressed") !== "true";
      chip.setAttribute("aria-pressed", shown);
      for (const part of parts) part.style.display = shown ? "" : "none";
      for (const entry of entries) entry.classList.toggle("off", !shown);
    };
    chip.addEventListener("click", toggle);
    for (const entry of entries) entry.addEventListener("click", toggle);
    return chip;
  });
  folded.lastChild.append(...chips.filter(Boolean));
  box.after(folded);
};

// A button beside each command that copies it.
const addCopy = (code) => {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "copy";
  button.setAttribute("aria-label", `Copy: ${code.textContent}`);
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "copied";
    setTimeout(() => (button.textContent = "copy"), 1500);
  });
  code.after(button);
};

// A figure as a file of its own: with its styles and a font, in the colours of a light page, since papers are white.
const standalone = (svg) => {
  const copy = svg.cloneNode(true);
  const [, , width, height] = svg.getAttribute("viewBox").split(" ");
  for (const [name, value] of Object.entries({ xmlns: "http://www.w3.org/2000/svg", width, height })) copy.setAttribute(name, value);
  copy.removeAttribute("style");
  const classes = new Set([...copy.querySelectorAll("[class]")].flatMap((part) => [...part.classList].map((one) => `.${one}`)));
  const rules = [...document.styleSheets].flatMap((sheet) => [...sheet.cssRules]).filter((rule) => classes.has(rule.selectorText));
  const style = document.createElementNS("http://www.w3.org/2000/svg", "style");
  style.textContent = ['text { font-family: "DejaVu Sans", Verdana, Arial, sans-serif; }', ...rules.map((rule) => rule.cssText)].join("\n");
  copy.prepend(style);
  const page = getComputedStyle(document.documentElement);
  const light = (name) => page.getPropertyValue(name).match(/#\w+/)[0];
  const text = new XMLSerializer().serializeToString(copy).replace(/var\((--\w+)\)/g, (_, name) => light(name));
  return { text, width: Number(width), height: Number(height) };
};

const save = (blob, name) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
};

// Buttons beside a figure's data that save it as SVG and, drawn by the browser at 216 dots per inch, as PNG.
const addSave = (figure) => {
  const [svg, data] = [figure.querySelector(".paper > svg"), figure.querySelector("a[download]")];
  if (!svg || !data) return;
  const name = data.download.replace(/\.csv(\.gz)?$/, "");
  const kinds = {
    PNG: async () => {
      const { text, width, height } = standalone(svg);
      const image = new Image();
      image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
      await image.decode();
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [Math.round(3 * width), Math.round(3 * height)];
      canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
      canvas.toBlob((blob) => save(blob, `${name}.png`));
    },
    SVG: () => save(new Blob([standalone(svg).text], { type: "image/svg+xml" }), `${name}.svg`),
  };
  for (const [kind, run] of Object.entries(kinds)) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "save";
    button.textContent = kind;
    button.setAttribute("aria-label", `Save as ${kind}: ${svg.getAttribute("aria-label")}`);
    button.addEventListener("click", run);
    data.after(button);
  }
};

// Light, dark, or as the reader's system has it; remembered where the browser lets a page store something.
const addColours = (select) => {
  const root = document.documentElement;
  select.value = root.dataset.colours ?? "";
  select.addEventListener("input", () => {
    root.dataset.colours = select.value;
    try {
      localStorage.setItem("report-colours", select.value);
    } catch {} // it holds until the page is closed
  });
  select.parentElement.hidden = false;
};

const enhance = (root) => {
  root.querySelectorAll("figure").forEach(addSave);
  root.querySelectorAll(".filter").forEach(addFilter);
  root.querySelectorAll(".viewer").forEach(addViewer);
  root.querySelectorAll("[data-plot]").forEach(addPlot);
  root.querySelectorAll(".source > code, pre").forEach(addCopy);
};

// What is folded lies in a template, which costs nothing until it is opened.
const unpack = (details) => {
  const packed = details.querySelector(":scope > template");
  if (!packed) return;
  packed.replaceWith(packed.content);
  enhance(details);
  enhanceSortableAccessibility(details.querySelectorAll(".sortable"));
};
const open = (details) => {
  unpack(details);
  details.open = true;
};
document.addEventListener("toggle", (event) => event.target.open && unpack(event.target), true);

const folded = () => [...document.querySelectorAll("details > template")];

// A link that leads into what is folded opens it.
const follow = () => {
  const [id, state] = location.hash.slice(1).split("?");
  if (!id) return;
  const name = decodeURIComponent(id);
  const packed = folded().find((one) => one.content.getElementById(name));
  if (packed) open(packed.parentElement);
  const target = document.getElementById(name);
  if (!target) return;
  for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") open(at);
  if (state && target.restore) target.restore(state.split("&"));
  target.scrollIntoView();
};
addEventListener("hashchange", follow);
addEventListener("click", (event) => event.target.closest('a[href^="#"]') && setTimeout(follow)); // also a second time

// Searches headings, figures, claims and tables, folded ones too; the index is made when it is first needed.
const addSearch = (box) => {
  const [input, hits] = [box.querySelector("input"), box.querySelector("ul")];
  const PLACES = "h2[id], h3[id], h4[id], figure[id], details[id], table[id]";
  let index;
  const entry = (element, within) => {
    const isTable = element.tagName === "TABLE";
    const title = isTable
      ? element.parentElement.getAttribute("aria-label")
      : element.querySelector("summary, h3, h4, h5")?.textContent ?? element.textContent;
    const caption = element.tagName === "FIGURE" ? element.querySelector("figcaption")?.textContent ?? "" : "";
    const text = isTable ? element.textContent : `${title} ${caption}`;
    return { id: element.id, title: title.trim(), within, text: `${within} ${text}`.toLowerCase() };
  };
  const make = () => [
    ...[...document.querySelectorAll(PLACES)].map((element) => {
      const run = element.parentElement.closest("details.run");
      return entry(element, run ? run.querySelector("summary").textContent.trim() : "");
    }),
    ...folded().flatMap((packed) =>
      [...packed.content.querySelectorAll(PLACES)].map((element) =>
        entry(element, packed.parentElement.querySelector("summary").textContent.trim())
      )
    ),
  ];
  const search = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    hits.hidden = !words.length;
    if (!words.length) return;
    index ??= make();
    const found = index.filter((one) => words.every((word) => one.text.includes(word))).slice(0, 20);
    hits.replaceChildren(
      ...found.map((one) => {
        const [item, link, within] = ["li", "a", "small"].map((tag) => document.createElement(tag));
        link.href = `#${one.id}`;
        within.textContent = one.within;
        link.append(one.title, within);
        item.append(link);
        return item;
      })
    );
    if (!found.length) hits.textContent = "Nothing on this page has these words.";
  };
  input.addEventListener("focus", () => (index = undefined));
  input.addEventListener("input", search);
  box.addEventListener("keydown", (event) => event.key === "Escape" && (hits.hidden = true));
  hits.addEventListener("click", () => (hits.hidden = true));
  box.hidden = false;
};

enhance(document);
addColours(document.getElementById("colours"));
addSearch(document.querySelector(".search"));
follow();
