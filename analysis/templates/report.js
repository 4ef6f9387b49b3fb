"use strict";

// Filters a table's rows by what is typed above it: each word must stand somewhere in the row.
for (const box of document.querySelectorAll(".filter")) {
  const [input, output] = [box.querySelector("input"), box.querySelector("output")];
  const table = document.getElementById(input.getAttribute("aria-controls"));
  box.hidden = false;
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = [...table.tBodies].flatMap((body) => [...body.rows]);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    const shown = rows.filter((row) => !row.hidden).length;
    output.value = words.length ? `${shown} of ${rows.length} rows` : "";
  });
}

// Steps through a run's images. What was asked for is remembered: where a network does not have it, the nearest is shown.
for (const viewer of document.querySelectorAll(".viewer")) {
  const { kinds, figures, arms } = JSON.parse(viewer.querySelector("script").textContent);
  const [arm, kind] = viewer.querySelectorAll("select");
  const [dim, step] = viewer.querySelectorAll("input");
  const [image, caption] = [viewer.querySelector("img"), viewer.querySelector("figcaption")];
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
    viewer.querySelector(`output[for="${input.id}"]`).value = text(values[input.value]);
    return values[input.value];
  };
  const draw = (changed) => {
    const networks = arms[arm.value];
    if (changed === kind) wanted.kind = kind.value;
    if (changed === dim) wanted.dim = networks[dim.value].dim;
    if (changed === step) wanted.step = steps[step.value];
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
    viewer.querySelector(".shown").textContent = kind.value;
    viewer.querySelector(".drawn").hidden = !(kind.value in figures);
    viewer.querySelector(".figure").textContent = figures[kind.value] ?? "";
    image.src = strips[at];
    image.alt = `${kind.value}: ${network.cell}, ${when(at)}`;
    caption.textContent = `${network.cell}, seed ${network.seed}, ${when(at)}${loss}.${lacks} ${kinds[kind.value]}`;
  };
  fill(arm, Object.keys(arms));
  for (const control of [arm, kind, dim, step]) control.addEventListener("input", () => draw(control));
  viewer.hidden = false;
  draw();
}

// What is folded opens for a link that leads into it, and on paper.
const unfold = () => {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  target.scrollIntoView();
};
addEventListener("hashchange", unfold);
addEventListener("click", (event) => event.target.closest('a[href^="#"]') && setTimeout(unfold)); // also a second time
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => (one.open = true)));
unfold();
