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

// Steps through a run's images. What a choice does not have, its nearest does: the caption says what is shown.
for (const viewer of document.querySelectorAll(".viewer")) {
  const { kinds, arms } = JSON.parse(viewer.querySelector("script").textContent);
  const [arm, kind] = viewer.querySelectorAll("select");
  const [dim, step] = viewer.querySelectorAll("input");
  const [image, caption] = [viewer.querySelector("img"), viewer.querySelector("figcaption")];
  const fill = (select, names) => {
    const chosen = select.value;
    select.replaceChildren(...names.map((name) => new Option(name, name, false, name === chosen)));
  };
  const draw = () => {
    const networks = arms[arm.value];
    dim.max = networks.length - 1;
    const network = networks[Math.min(dim.value, networks.length - 1)];
    fill(kind, Object.keys(kinds).filter((name) => name in network.strips));
    const strips = network.strips[kind.value];
    const steps = Object.keys(strips).map(Number).sort((a, b) => a - b);
    const last = Number(step.max) === Number(step.value);
    step.max = steps.length - 1;
    step.value = last ? steps.length - 1 : Math.min(step.value, steps.length - 1);
    dim.disabled = networks.length < 2;
    step.disabled = steps.length < 2;
    const at = steps[step.value];
    const when = at ? `${at.toLocaleString("en")} steps` : "closed form";
    dim.setAttribute("aria-valuetext", `N = ${network.dim}`);
    step.setAttribute("aria-valuetext", when);
    viewer.querySelector(".dim").value = `N = ${network.dim}`;
    viewer.querySelector(".step").value = when;
    const loss = network.nll[at] === undefined ? "" : `; test NLL ${network.nll[at]} nats per image`;
    image.src = strips[at];
    image.alt = `${kind.value}: ${network.cell}, ${when}`;
    image.width = image.naturalWidth || 310;
    caption.textContent = `${network.cell}, seed ${network.seed}, ${when}${loss}. ${kinds[kind.value]}`;
  };
  fill(arm, Object.keys(arms));
  dim.max = arms[arm.value].length - 1;
  dim.value = dim.max;
  for (const control of [arm, kind, dim, step]) control.addEventListener("input", draw);
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
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => (one.open = true)));
unfold();
