// Playing with trained models: every model answers the same question, in aligned panels.

import { ask, currentLanguage, el, familyClass, inOrder, isInside, labelled, LatestWins, number, picture, runName, say, saveGif, select, short, slider, t, tried } from "./dom.js";
import { Screen, Transport } from "./film.js";

const TABS = ["plane", "sample", "walk", "traverse", "chain", "noise", "own"];
const MOST = 6; // models side by side: as many as the server keeps loaded
const PREVIEWED = 4; // network calls of a sample from which on a quick preview comes before

export async function playView(root, path, isShown) {
  root.replaceChildren(el("h1", {}, t("live.play.title")), el("p", { class: "intro" }, t("live.loading")));
  const library = await tried(() => ask("/api/library"));
  if (library === null || !isShown()) return;
  const all = [...library.comparisons.flatMap((each) => each.runs), ...library.runs].filter((run) => run.state === "done");
  const chosen = all.filter((run) => path && isInside(run, path));
  const runs = inOrder(chosen.length ? chosen : all.slice(0, 3)).slice(0, MOST);
  if (!runs.length) {
    root.replaceChildren(el("h1", {}, t("live.play.title")), el("p", { class: "intro" }, t("live.nothing_to_play")));
    return;
  }
  const models = [], notes = [];
  if (chosen.length > MOST) notes.push(t("live.play.first", { n: number(MOST), count: number(chosen.length) }));
  for (const run of runs) {
    const refused = (why) => notes.push(t("live.damaged", { name: runName(run, runs), problem: why }));
    const able = await tried(() => ask(`/api/capabilities?run=${encodeURIComponent(run.path)}&lang=${currentLanguage()}`), refused);
    if (!isShown()) return;
    if (able) models.push({ run, able, name: runName(run, runs) });
  }
  const body = el("div", { class: "tab", id: "tab", role: "tabpanel", "aria-label": t("live.play.title") });
  const tabs = TABS.filter((name) => models.some(({ able }) => suits(name, able)));
  const buttons = tabs.map((name) => el("button", { type: "button", role: "tab", "aria-controls": "tab", onclick: () => show(name) }, t(`live.tab.${name}`)));
  const bar = el("div", { role: "tablist", class: "tabs", onkeydown: (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const now = (buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length;
    buttons[now].focus();
    show(tabs[now]);
  } }, buttons);
  const views = { plane: planeTab, sample: sampleTab, walk: walkTab, traverse: traverseTab, chain: chainTab, noise: noiseTab, own: ownTab };
  function show(name) {
    buttons.forEach((button, index) => {
      button.setAttribute("aria-selected", String(tabs[index] === name));
      button.tabIndex = tabs[index] === name ? 0 : -1;
    });
    body.replaceChildren(...views[name](models.filter(({ able }) => suits(name, able))));
  }
  root.replaceChildren(el("h1", {}, t("live.play.title")), ...notes.map((words) => el("p", { class: "wrong", role: "status" }, words)), bar, body);
  if (tabs.length) show(tabs[0]);
}

function suits(name, able) {
  const point = able.shape.join() === "2,1,1";
  return { plane: point, sample: true, walk: true, traverse: able.traverses && !point, chain: able.chain, noise: able.chain && !point, own: able.encodes && !point }[name];
}

/** A panel for each model with a screen in it; `words` describe the picture. */
function panelsOf(models, key) {
  const panels = models.map((model) => {
    const screen = new Screen(t(key, { model: model.name }));
    const note = el("p", { class: "quiet", role: "status" });
    const node = el("article", { class: `panel ${familyClass(model.run)}` }, el("h2", { class: "model" }, model.name), screen.canvas, note);
    return { ...model, screen, note, node, asking: new LatestWins((message) => { note.textContent = message; }) };
  });
  return { panels, node: el("div", { class: `panels live-panels panels-${panels.length}` }, panels.map((panel) => panel.node)) };
}

const seedSlider = (asked, again) => slider(t("live.seed"), { min: 0, max: 99, step: 1, value: asked.seed, shown: (v) => number(v), oninput: (value) => { asked.seed = value; again(); } });

function sampleTab(models) {
  const asked = { count: 16, seed: 0, label: null, temperature: 1, guidance: null, sampler: null, steps: null };
  const { panels, node } = panelsOf(models, "live.samples_of");
  function again() {
    for (const panel of panels) panel.asking.run((isOld) => drawSamples(panel, { ...asked }, isOld));
  }
  const classes = [...new Set(models.flatMap(({ able }) => able.classes))];
  const samplers = [...new Set(models.flatMap(({ able }) => able.samplers))];
  const controls = [
    seedSlider(asked, again),
    slider(t("live.temperature"), { min: 0.1, max: 1.5, step: 0.05, value: 1, oninput: (value) => { asked.temperature = value; again(); } }),
  ];
  if (classes.length) controls.push(select(t("live.class"), [["", t("live.class.any")], ...classes.map((name) => [name, name])], "", (value) => { asked.label = value || null; again(); }));
  if (models.some(({ able }) => able.guided)) controls.push(slider(t("live.guidance"), { min: 0, max: 6, step: 0.25, value: 0, shown: (v) => v === 0 ? t("live.as_trained") : number(v, 2), oninput: (value) => { asked.guidance = value || null; again(); } }));
  if (samplers.length) {
    controls.push(select(t("live.sampler"), [["", t("live.as_trained")], ...samplers.map((name) => [name, t(`term.${name}`).startsWith("term.") ? name : t(`term.${name}`)])], "", (value) => { asked.sampler = value || null; again(); }));
    controls.push(slider(t("live.steps"), { min: 0, max: 50, step: 1, value: 0, shown: (v) => v === 0 ? t("live.as_trained") : number(v), oninput: (value) => { asked.steps = value || null; again(); } }));
  }
  again();
  return [el("div", { class: "controls" }, controls), node];
}

async function drawSamples(panel, asked, isOld) {
  const { able, run } = panel;
  const unled = asked.label !== null && !able.classes.includes(asked.label);
  if (unled) asked.label = null;
  if (!able.guided) asked.guidance = null;
  if (!able.samplers.includes(asked.sampler)) asked.sampler = null;
  const body = { run: run.path, ...asked };
  if (able.chain && able.calls > PREVIEWED && asked.steps === null) {
    panel.screen.put(await picture("sample", { ...body, steps: 1 }));
    panel.note.textContent = t("live.preview");
    if (isOld()) return;
  }
  panel.screen.put(await picture("sample", body));
  panel.note.textContent = unled ? t("live.class.none") : "";
}

function planeTab(models) {
  const asked = { view: "samples", seed: 0, sigma: 0.3, steps: null };
  const { panels, node } = panelsOf(models, "live.plane_of");
  const words = el("p", { class: "intro" });
  panels.forEach(({ screen }) => screen.canvas.classList.add("smooth"));
  const again = () => {
    words.textContent = t(`live.plane.view.${asked.view}.note`);
    for (const panel of panels) panel.asking.run(async () => panel.screen.put(await picture("plane", { run: panel.run.path, ...asked })));
  };
  const views = ["samples", "density", "field", "paths"].map((name) => [name, t(`live.plane.view.${name}`)]);
  const controls = [select(t("live.plane.view"), views, asked.view, (value) => { asked.view = value; again(); }), seedSlider(asked, again)];
  if (models.some(({ able }) => able.chain)) controls.push(
    slider(t("live.plane.sigma"), { min: -4, max: 1, step: 0.1, value: Math.log(asked.sigma), shown: (v) => number(Math.exp(v), 2), oninput: (value) => { asked.sigma = Math.exp(value); again(); } }),
    slider(t("live.steps"), { min: 0, max: 50, step: 1, value: 0, shown: (v) => v === 0 ? t("live.as_trained") : number(v), oninput: (value) => { asked.steps = value || null; again(); } }));
  again();
  return [el("div", { class: "controls" }, controls), words, node];
}

function walkTab(models) {
  const asked = { seed: 0, points: 24, paths: 9, way: null };
  const ends = { first: null, last: null };
  const { panels, node } = panelsOf(models, "live.walk_of");
  const transport = new Transport(t("live.walk.where"));
  const question = () => ends.first && ends.last ? { points: asked.points, way: asked.way, paths: 1, ...ends } : { ...asked };
  for (const panel of panels) {
    transport.add(panel.screen);
    panel.node.append(el("button", { type: "button", onclick: () => tried(() => saveGif("walk", { run: panel.run.path, ...question() }, "walk.gif")) }, t("live.gif")));
  }
  const again = () => panels.forEach((panel) => panel.asking.run(async () => {
    panel.note.textContent = t("live.asking");
    if (ends.first && ends.last && !panel.able.encodes) { panel.note.textContent = panel.able.why_not; return; }
    panel.screen.put(await picture("walk", { run: panel.run.path, ...question() }), 3);
    panel.note.textContent = "";
  }));
  const pick = (key, words) => fileInput(words, (upload) => { ends[key] = upload; if (ends.first && ends.last) again(); });
  again();
  return [
    el("div", { class: "controls" }, seedSlider(asked, () => { ends.first = ends.last = null; again(); }),
      select(t("live.way"), [["", t("live.way.own")], ["straight", t("live.way.straight")], ["spherical", t("live.way.spherical")]], "", (value) => { asked.way = value || null; again(); }),
      pick("first", t("live.walk.first")), pick("last", t("live.walk.last"))),
    transport.node, node,
  ];
}

function traverseTab(models) {
  const asked = { seed: 0 };
  const { panels, node } = panelsOf(models, "live.traversal_of");
  const transport = new Transport(t("live.traverse.where"), 0.5);
  const again = () => panels.forEach((panel) => panel.asking.run(async () => {
    panel.note.textContent = t("live.asking");
    panel.screen.put(await picture("traverse", { run: panel.run.path, ...asked }), 4);
    panel.note.textContent = t("live.traverse.note");
  }));
  panels.forEach((panel) => transport.add(panel.screen));
  again();
  return [el("p", { class: "intro" }, t("live.traverse.intro")), el("div", { class: "controls" }, seedSlider(asked, again)), transport.node, node];
}

function chainTab(models) {
  const asked = { seed: 0, count: 16 };
  const { panels, node } = panelsOf(models, "live.chain_of");
  const transport = new Transport(t("live.chain.where"));
  const again = () => panels.forEach((panel) => panel.asking.run(async () => {
    panel.note.textContent = t("live.asking");
    panel.screen.put(await picture("chain", { run: panel.run.path, ...asked }), 4);
    panel.note.textContent = "";
  }));
  panels.forEach((panel) => transport.add(panel.screen));
  again();
  return [el("p", { class: "intro" }, t("live.chain.intro")), el("div", { class: "controls" }, seedSlider(asked, again)), transport.node, node];
}

function noiseTab(models) {
  const [lowest, highest] = models[0].able.sigmas;
  const sigmaAt = (share) => Math.min(highest, lowest * (highest / lowest) ** share);
  const image = { held_out: 0, upload: null };
  let sigma = sigmaAt(0.5);
  const levels = panelsOf(models, "live.noisy_of"), paths = panelsOf(models, "live.path_of");
  const transport = new Transport(t("live.path.where"));
  const denoise = () => levels.panels.forEach((panel) => panel.asking.run(async () => {
    const asked = sigma; // the slider may move on before the answer comes
    panel.screen.putWhole(await picture("denoise", { run: panel.run.path, ...image, sigma: asked }));
    panel.note.textContent = t("live.noisy.note", { sigma: short(asked) });
  }));
  const follow = () => paths.panels.forEach((panel) => panel.asking.run(async () => {
    if (!panel.able.encodes) { panel.note.textContent = panel.able.why_not; return; }
    panel.note.textContent = t("live.asking");
    panel.screen.put(await picture("round_trip", { run: panel.run.path, ...image }));
    panel.note.textContent = "";
  }));
  const again = () => { denoise(); follow(); };
  paths.panels.forEach((panel) => transport.add(panel.screen));
  again();
  return [
    ...imageControls(image, again),
    el("p", { class: "intro" }, t("live.noise.intro")),
    slider(t("live.sigma"), { min: 0, max: 1, step: 0.01, value: 0.5, shown: (share) => short(sigmaAt(share)), oninput: (share) => { sigma = sigmaAt(share); denoise(); } }),
    levels.node, el("p", { class: "intro" }, t("live.path.intro")), transport.node, paths.node,
  ];
}

function ownTab(models) {
  const { panels, node } = panelsOf(models, "live.reconstruction_of");
  const asked = { held_out: 0, upload: null };
  const transport = new Transport(t("live.invert.where"), 1);
  const searching = new Set(); // panels whose search is shown
  transport.onmove = () => searching.forEach((panel) => { panel.note.textContent = panel.screen.words ? t("live.invert.steps", { n: panel.screen.words }) : t("live.invert.original"); });
  const again = () => panels.forEach((panel) => panel.asking.run(async () => {
    searching.delete(panel);
    transport.remove(panel.screen);
    transport.node.hidden = searching.size === 0;
    panel.note.textContent = t("live.asking");
    panel.screen.putWhole(await picture("reconstruct", { run: panel.run.path, ...asked }));
    panel.note.textContent = t("live.reconstruct.note");
  }));
  for (const panel of panels) {
    if (!panel.able.refines) continue;
    const button = el("button", { type: "button", onclick: () => panel.asking.run(async () => {
      panel.note.textContent = t("live.asking");
      panel.screen.put(await picture("invert", { run: panel.run.path, ...asked }));
      searching.add(panel);
      transport.add(panel.screen);
      transport.node.hidden = false;
      transport.moveTo(1);
    }) }, t("live.invert"));
    panel.node.append(button);
  }
  transport.node.hidden = true;
  again();
  return [...imageControls(asked, again), transport.node, node];
}

/** What chooses the image that is asked about: a held-out one, a file, or a drawing. */
function imageControls(asked, again) {
  const use = (upload) => { asked.upload = upload; again(); };
  return [
    el("div", { class: "controls" },
      slider(t("live.held_out"), { min: 0, max: 99, step: 1, value: 0, shown: (v) => number(v), oninput: (value) => { asked.upload = null; asked.held_out = value; again(); } }),
      fileInput(t("live.own.file"), use)),
    el("details", {}, el("summary", {}, t("live.own.draw")), drawing(use)),
  ];
}

/** A place for an image of one's own: chosen, or dropped on it. */
function fileInput(words, use) {
  const input = el("input", { type: "file", accept: "image/*", onchange: () => send(input.files[0]) });
  async function send(file) {
    if (!file) return;
    input.value = ""; // so that the same one may be chosen again
    const reply = await tried(() => ask("/api/uploads", file));
    if (reply) { say(t("live.received", { name: file.name })); use(reply.upload); }
  }
  return el("div", { class: "drop", ondragover: (event) => event.preventDefault(), ondrop: (event) => {
    event.preventDefault();
    send(event.dataTransfer.files[0]);
  } }, labelled(words, input));
}

/** A square to draw on with a finger, a pen or the mouse. */
function drawing(use) {
  const size = 256;
  const canvas = el("canvas", { width: size, height: size, class: "drawing", role: "img", "aria-label": t("live.own.draw") });
  const context = canvas.getContext("2d");
  const clear = () => { context.fillStyle = "black"; context.fillRect(0, 0, size, size); };
  clear();
  let last = null;
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * size / box.width, (event.clientY - box.top) * size / box.height];
  };
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); last = at(event); stroke(event); });
  canvas.addEventListener("pointermove", (event) => { if (last) stroke(event); });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { last = null; });
  function stroke(event) {
    const now = at(event);
    Object.assign(context, { strokeStyle: "white", lineWidth: 22, lineCap: "round" });
    context.beginPath();
    context.moveTo(...last);
    context.lineTo(now[0] + 0.01, now[1]);
    context.stroke();
    last = now;
  }
  const finish = () => canvas.toBlob(async (blob) => {
    const reply = await tried(() => ask("/api/uploads", blob));
    if (reply) use(reply.upload);
  }, "image/png");
  return el("div", {}, canvas, el("p", { class: "actions" },
    el("button", { type: "button", onclick: finish }, t("live.own.use")),
    el("button", { type: "button", onclick: clear }, t("live.own.clear"))));
}
