// Two dimensions: points that are drawn or chosen, and three small models that learn them in turns.

import { ask, el, link, number, once, say, t } from "./dom.js";
import { watchView } from "./watch.js";

const SIDE = 320; // pixels of the square from -1 to 1
const MOST = 4000, OF_SHAPE = 2000, STROKE = 6; // points; those of a place that a finger passes
const BLUR = 0.04;
const FAMILIES = ["vae", "gan", "diffusion"];

/** Two normal numbers (Box and Muller 1958). */
function normal() {
  const radius = Math.sqrt(-2 * Math.log(1 - Math.random())), angle = 2 * Math.PI * Math.random();
  return [radius * Math.cos(angle), radius * Math.sin(angle)];
}

const SHAPES = { // a point of each, on [-1, 1]
  ring() {
    const angle = Math.floor(8 * Math.random()) * Math.PI / 4;
    return blurred(0.75 * Math.cos(angle), 0.75 * Math.sin(angle));
  },
  moons() {
    const angle = Math.PI * Math.random(), upper = Math.random() < 0.5;
    const [x, y] = upper ? [Math.cos(angle), Math.sin(angle)] : [1 - Math.cos(angle), 0.5 - Math.sin(angle)];
    return blurred(0.55 * (x - 0.5), 0.55 * (y - 0.25));
  },
  spiral() {
    const turn = Math.sqrt(Math.random()), angle = 3.5 * Math.PI * turn;
    return blurred(0.85 * turn * Math.cos(angle), 0.85 * turn * Math.sin(angle), 0.6);
  },
  digits: null, // found among the pixels of drawn digits
};

const blurred = (x, y, share = 1) => {
  const [a, b] = normal();
  return [x + share * BLUR * a, y + share * BLUR * b];
};

/** Points on the outline of digits, from a picture of them. */
function outline(count) {
  const size = 200, canvas = el("canvas", { width: size, height: size });
  const context = canvas.getContext("2d");
  Object.assign(context, { font: "bold 130px sans-serif", textAlign: "center", textBaseline: "middle", lineWidth: 3 });
  context.strokeText("25", size / 2, size / 2);
  const { data } = context.getImageData(0, 0, size, size);
  const inked = [];
  for (let place = 0; place < size * size; place++) if (data[4 * place + 3] > 128) inked.push(place);
  return Array.from({ length: count }, () => {
    const place = inked[Math.floor(inked.length * Math.random())];
    return blurred((place % size) / size * 2 - 1, 1 - Math.floor(place / size) / size * 2, 0.2);
  });
}

export function planeView(root, path, isShown) {
  let points = [], name = "drawn", leave = () => {};
  const canvas = el("canvas", { width: SIDE, height: SIDE, class: "drawing", role: "img", "aria-label": t("live.plane.pad") });
  const context = canvas.getContext("2d");
  const count = el("p", { class: "quiet", "aria-live": "polite" });
  const watched = el("section", {});
  function draw() {
    context.fillStyle = "white";
    context.fillRect(0, 0, SIDE, SIDE);
    context.fillStyle = "#333333";
    for (const [x, y] of points) context.fillRect((x + 1) / 2 * SIDE - 1, (1 - y) / 2 * SIDE - 1, 2, 2);
    count.textContent = t("live.plane.count", { n: number(points.length) });
  }
  function choose(shape) {
    name = shape;
    points = shape === "digits" ? outline(OF_SHAPE) : Array.from({ length: OF_SHAPE }, SHAPES[shape]);
    draw();
  }
  const stroke = (event) => {
    const box = canvas.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * 2 - 1, y = 1 - (event.clientY - box.top) / box.height * 2;
    for (let each = 0; each < STROKE && points.length < MOST; each++) points.push(blurred(x, y));
    name = "drawn";
    draw();
  };
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); stroke(event); });
  canvas.addEventListener("pointermove", (event) => { if (event.buttons) stroke(event); });
  const provoked = FAMILIES.map((family) => {
    const box = el("input", { type: "checkbox", name: family });
    return { family, box, node: el("label", { class: `check fam-${family}` }, box, el("span", {}, t(`live.plane.provoke.${family}`))) };
  });
  const learn = once(async () => {
    const asked = { name, points: points.map(([x, y]) => [Math.round(x * 1e4) / 1e4, Math.round(y * 1e4) / 1e4]), provoked: provoked.filter(({ box }) => box.checked).map(({ family }) => family) };
    const job = await ask("/api/points", asked);
    if (!isShown()) return;
    say(t("live.plane.learning"));
    history.replaceState(null, "", link("plane", job.out)); // opened again, it shows the same training
    watch(job.out);
  });
  function watch(out) {
    leave();
    leave = watchView(watched, out, isShown, "h2");
  }
  root.replaceChildren(
    el("h1", {}, t("live.plane.title")),
    el("p", { class: "intro" }, t("live.plane.intro")),
    el("div", { class: "plane" },
      el("div", {}, canvas, count),
      el("div", {},
        el("fieldset", {}, el("legend", {}, t("live.plane.shape")), el("p", { class: "actions" },
          Object.keys(SHAPES).map((shape) => el("button", { type: "button", onclick: () => choose(shape) }, t(`live.plane.${shape}`))),
          el("button", { type: "button", onclick: () => { points = []; name = "drawn"; draw(); } }, t("live.own.clear")))),
        el("fieldset", {}, el("legend", {}, t("live.plane.provoke")), ...provoked.map(({ node }) => node)),
        el("button", { type: "button", class: "main", onclick: learn }, t("live.plane.learn")))),
    watched);
  choose("ring");
  if (path) watch(path);
  return () => leave();
}
