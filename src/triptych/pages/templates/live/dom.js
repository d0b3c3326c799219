// What every view stands on: elements, words in the reader's language, requests to the server.

let texts = {};
let language = document.documentElement.lang;
let wanted = language;

export const currentLanguage = () => language;

/** Load the words of a language; of two that are asked for at once the later one counts. */
export async function loadTexts(code) {
  wanted = code;
  const read = await ask(`/texts/${encodeURIComponent(code)}`);
  if (wanted !== code) return;
  texts = read;
  language = code;
  document.documentElement.lang = code;
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = t(node.dataset.text);
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", t(node.dataset.label));
}

/** A text by its key with values in place of {names}; the key itself where there is none. */
export function t(key, values = {}) {
  const text = texts[key];
  if (text === undefined) return key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => name in values ? String(values[name]) : whole);
}

/** A number as the language writes it, with at most so many decimals. */
export function number(value, decimals = 0) {
  return new Intl.NumberFormat(language, { maximumFractionDigits: decimals }).format(value);
}

/** Three digits that count, as losses need. */
export function short(value) {
  return new Intl.NumberFormat(language, { maximumSignificantDigits: 3 }).format(value);
}

export function percent(share) {
  return new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 0 }).format(share);
}

/** Seconds in the unit that reads best. */
export function duration(seconds) {
  if (seconds >= 7200) return t("live.hours", { n: number(seconds / 3600, 1) });
  if (seconds >= 120) return t("live.minutes", { n: number(seconds / 60) });
  return t("live.seconds", { n: number(seconds) });
}

/** An element: properties that begin with "on" are listeners, "class" and others are attributes. */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  fill(node, properties, children);
  return node;
}

/** The same of an SVG element. */
export function svg(tag, properties = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  fill(node, properties, children);
  return node;
}

function fill(node, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && typeof value !== "string" && !(node instanceof SVGElement)) node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
}

/** JSON from the server; an Error with the server's own line where it refuses. */
export async function ask(path, body) {
  const answer = await request(path, body);
  return answer.json();
}

async function request(path, body) {
  const isFile = body instanceof Blob;
  const options = body === undefined ? {} : {
    method: "POST",
    headers: { "content-type": isFile ? "application/octet-stream" : "application/json" },
    body: isFile ? body : JSON.stringify(body),
  };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error(t("live.unreachable"));
  }
  if (!answer.ok) {
    const reply = await answer.json().catch(() => ({}));
    throw new Error(reply.error ?? t("live.refused", { status: answer.status }));
  }
  return answer;
}

/** A picture that a model made: its bitmap, and of a film how many rows and moments it has. */
export async function picture(verb, body) {
  const answer = await request(`/api/play/${verb}`, body);
  const film = answer.headers.get("x-film");
  const blob = await answer.blob();
  return { bitmap: await createImageBitmap(blob), film: film ? JSON.parse(film) : null };
}

/** A film as a GIF file, which the browser saves. */
export async function saveGif(verb, body, name) {
  const answer = await request(`/api/play/${verb}?as=gif`, body);
  save(await answer.blob(), name);
}

/** Let the browser save something as a file. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Tell something below the head of the page; screen readers hear it. */
export function say(message, isError = false) {
  const status = document.getElementById("message");
  status.textContent = message;
  status.classList.toggle("wrong", isError);
}

/** Do something that may be refused, and tell why: below the head of the page, or in a place of its own. */
export async function tried(work, tell = (message) => say(message, true)) {
  try {
    if (document.querySelector("#message.wrong")) say("");
    return await work();
  } catch (error) {
    tell(error.message);
    return null;
  }
}

/** Work that a second click does not begin again while it goes on. */
export function once(work) {
  let busy = false;
  return async (...given) => {
    if (busy) return;
    busy = true;
    try {
      await tried(() => work(...given));
    } finally {
      busy = false;
    }
  };
}

/**
 * Put other nodes into a place; what was focused there is focused again, and a press is not cut off.
 *
 * Buttons that are called alike are told apart by their data-key.
 */
export function redraw(root, ...nodes) {
  if (root.querySelector("button:active, a:active")) return false;
  const all = () => [...root.querySelectorAll("a, button, input, select, summary")];
  const before = all().find((node) => node === document.activeElement);
  root.replaceChildren(...nodes.flat().filter((node) => node !== null && node !== undefined && node !== ""));
  if (before) {
    const identity = (node) => [node.tagName, node.textContent, node.getAttribute("href"), node.dataset.key].join();
    all().find((node) => identity(node) === identity(before))?.focus({ preventScroll: true });
  }
  return true;
}

/** Questions of which only the newest counts: while one is answered, the last other one waits. */
export class LatestWins {
  #busy = false;
  #next = null;
  #tell;

  /** tell: what becomes of the words of a refusal */
  constructor(tell) {
    this.#tell = tell;
  }

  async run(work) {
    this.#next = work;
    if (this.#busy) return;
    this.#busy = true;
    while (this.#next !== null) {
      const current = this.#next;
      this.#next = null;
      await tried(() => current(() => this.#next !== null), this.#tell);
    }
    this.#busy = false;
  }
}

/** What a run is called beside others: its family and recipe, and what sets it apart. */
export function runName(run, others = []) {
  if (!run.family) return run.name;
  if (others.some((other) => other.path !== run.path && runName(other) === runName(run))) {
    return `${runName(run)} (${run.path.split("/").slice(-2).join("/")})`;
  }
  const recipe = run.model.split(":")[1] ?? "";
  const key = `short.${run.family}`;
  return [t(key) === key ? run.family : t(key), recipe, run.variant].filter(Boolean).join(" ");
}

/** The runs of a folder, or the run itself. */
export const isInside = (run, path) => path === "." || run.path === path || run.path.startsWith(`${path}/`);

/** Whether a run is of points of the plane, not of images. */
export const isOfPoints = (run) => run.model.endsWith(":points");

export const familyClass = (run) => `fam-${run.family || "other"}`;

/** Runs side by side as the report has them: the VAE, the GAN, the diffusion model. */
export function inOrder(runs) {
  const order = ["vae", "gan", "diffusion"];
  const rank = (run) => order.includes(run.family) ? order.indexOf(run.family) : order.length;
  return [...runs].sort((a, b) => rank(a) - rank(b));
}

/** A part of an address: #watch=runs/gan. */
export const link = (view, path) => `#${view}=${encodeURIComponent(path)}`;

/** A labelled control. */
export function labelled(words, control, more = null) {
  return el("label", {}, el("span", {}, words), control, more);
}

/** A slider with its value beside it; `shown` words the value. */
export function slider(words, { min, max, step, value, shown = (v) => number(v, 2), oninput }) {
  const output = el("output", {}, shown(value));
  const name = (v) => { output.textContent = shown(v); if (shown(v)) input.setAttribute("aria-valuetext", shown(v)); };
  const input = el("input", { type: "range", min: String(min), max: String(max), step: String(step) });
  input.value = String(value);
  input.addEventListener("input", () => {
    name(Number(input.value));
    oninput(Number(input.value));
  });
  const node = labelled(words, input, output);
  name(value);
  node.set = (next) => { input.value = String(next); name(next); };
  return node;
}

export function select(words, options, value, onchange) {
  const input = el("select", { onchange: () => onchange(input.value) },
    options.map(([key, label]) => el("option", { value: key }, label)));
  input.value = value;
  return labelled(words, input);
}
