// The first view: what lies in the folder, what is being trained, and the form that starts more.

import { ask, duration, el, familyClass, isOfPoints, labelled, link, number, once, percent, redraw, runName, say, select, t } from "./dom.js";

const EVERY = 2000; // milliseconds
const OPEN = ["waiting", "running"];

export function runsView(root) {
  const list = el("div", { class: "library" });
  root.replaceChildren(el("h1", {}, t("live.runs.title")), startForm(() => refresh()), list);
  let drawn = "", timer = null, silent = false, closed = false;
  async function refresh() {
    const library = await ask("/api/library").catch((error) => {
      if (!silent) say(error.message, true); // once, not every two seconds
      silent = true;
      return null;
    });
    if (closed || library === null) return;
    if (silent) say("");
    silent = false;
    const text = JSON.stringify(library);
    if (text !== drawn && redraw(list, drawLibrary(library, refresh))) drawn = text;
  }
  async function again() {
    if (!document.hidden) await refresh();
    if (!closed) timer = setTimeout(again, EVERY);
  }
  again();
  return () => { closed = true; clearTimeout(timer); };
}

function drawLibrary({ comparisons, runs, jobs }, refresh) {
  const open = jobs.filter((job) => OPEN.includes(job.state));
  const listed = new Set([...comparisons, ...runs].map((each) => each.path));
  const lost = jobs.filter((job) => !OPEN.includes(job.state) && job.state !== "done" && !listed.has(job.out));
  const jobOf = (path) => jobs.find((job) => job.out === path);
  const parts = [];
  if (open.length || lost.length) {
    parts.push(el("h2", {}, t("live.jobs.title")), el("ul", { class: "jobs" }, [...open, ...lost].map((job) => drawJob(job, jobs, refresh))));
  }
  if (comparisons.length) {
    parts.push(el("h2", {}, t("live.comparisons.title")), el("ul", { class: "entries" },
      comparisons.map((each) => drawComparison(each, jobOf(each.path), refresh))));
  }
  if (runs.length) {
    parts.push(el("h2", {}, t("live.single.title")), el("ul", { class: "entries" },
      runs.map((run) => el("li", {}, el("h3", {}, run.name), drawRun(run), actions(run.path, [run], false, jobOf(run.path), refresh)))));
  }
  if (!parts.length) parts.push(el("p", { class: "intro" }, t("live.empty")));
  return parts;
}

function drawJob(job, jobs, refresh) {
  const ahead = jobs.filter((other) => OPEN.includes(other.state) && other.number < job.number).length;
  const state = job.state === "waiting" ? t("live.job.waiting", { n: number(ahead) }) : t(`live.job.${job.state}`);
  return el("li", {},
    el("p", {}, el("strong", {}, state), " ", job.state === "running" ? el("a", { href: link("watch", job.out) }, t("live.watch")) : null),
    el("code", {}, job.command),
    job.message ? el("p", { class: "wrong" }, job.message) : null,
    el("p", { class: "actions" }, jobButtons(job, refresh), OPEN.includes(job.state) ? null : jobButton(job, "forget", t("live.forget"), refresh)));
}

/** Buttons that stop a job or let it go on. */
export function jobButtons(job, after) {
  if (job.state === "running" && job.told_to_stop) return el("button", { type: "button", disabled: true }, t("live.stopping"));
  if (job.state === "done") return null;
  if (OPEN.includes(job.state)) return jobButton(job, "stop", t("live.stop"), after);
  return jobButton(job, "resume", t("live.resume"), after);
}

function jobButton(job, verb, words, after) {
  const send = once(async () => { await ask(`/api/jobs/${job.number}/${verb}`, {}); after(); });
  return el("button", { type: "button", "data-key": `${job.number}/${verb}`, "aria-label": `${words} ${job.out}`, onclick: send }, words);
}

function drawComparison(comparison, job, refresh) {
  return el("li", {},
    el("h3", {}, comparison.name),
    el("div", { class: "thumbs" }, comparison.runs.filter((run) => run.trained).map((run) => drawRun(run, comparison.runs))),
    actions(comparison.path, comparison.runs, comparison.report, job, refresh));
}

function actions(path, runs, report, job, refresh) {
  return el("p", { class: "actions" },
    el("a", { href: link("watch", path) }, t("live.watch")),
    runs.some((run) => run.state === "done") ? el("a", { href: link("play", path) }, t("live.play")) : null,
    runs.some((run) => run.state === "done" && run.trained && !isOfPoints(run)) ? el("a", { href: link("eyes", path) }, t("live.eyes")) : null,
    report ? reportLink(path) : null,
    job && !OPEN.includes(job.state) ? jobButtons(job, refresh) : null);
}

export const reportLink = (path) => el("a", { href: `/files/${path.split("/").map(encodeURIComponent).join("/")}/report.html`, target: "_blank", rel: "noopener" }, t("live.report"));

/** A run in a list: its newest picture, and how far it has come. */
function drawRun(run, others = []) {
  if (run.state === "damaged") return el("p", { class: "wrong" }, t("live.damaged", { name: run.name, problem: run.problem }));
  const seen = run.pictures.at(-1);
  return el("figure", { class: familyClass(run) },
    seen === undefined ? el("div", { class: "empty" }, t("live.no_picture"))
      : el("img", { src: pictureAddress(run, seen), alt: t("live.samples_of", { model: runName(run, others) }), loading: "lazy" }),
    el("figcaption", {},
      el("span", { class: "model" }, runName(run, others)), " ",
      t("live.run", { data: run.data, budget: run.budget, size: run.size }), " ",
      run.state === "done" ? t("live.state.done", { images: number(run.images) }) : progressWords(run)));
}

export function progressWords(run) {
  const share = run.planned ? Math.min(1, run.images / run.planned) : 0;
  const remaining = run.remaining === null ? "" : t("live.left", { time: duration(run.remaining) });
  return `${t(`live.state.${run.state}`, { share: percent(share) })} ${remaining}`.trim();
}

export function pictureAddress(run, seen) {
  const path = run.path.split("/").map(encodeURIComponent).join("/");
  return `/files/${path}/samples/${String(seen).padStart(9, "0")}.png`;
}

function startForm(started) {
  const asked = { models: ["vae", "gan", "diffusion"], data: "street-digits", budget: "75s", size: "", conditional: false };
  const command = el("code", {});
  const copy = el("button", { type: "button", onclick: () => {
    getSelection().selectAllChildren(command); // where the browser lets no page copy, the user can
    navigator.clipboard?.writeText(command.textContent).then(() => say(t("live.copied")));
  } }, t("live.copy"));
  async function show() {
    const reply = await ask("/api/command", asked).catch((error) => ({ command: error.message }));
    command.textContent = reply.command;
  }
  const models = ["vae", "gan", "diffusion"].map((family) => {
    const box = el("input", { type: "checkbox", checked: true, onchange: () => {
      asked.models = ["vae", "gan", "diffusion"].filter((each) => each === family ? box.checked : asked.models.includes(each));
      show();
    } });
    return el("label", { class: `check fam-${family}` }, box, el("span", { class: "model" }, t(`short.${family}`)));
  });
  const text = (key, words, hint) => {
    const input = el("input", { type: "text", value: asked[key], spellcheck: "false", autocomplete: "off", oninput: () => { asked[key] = input.value.trim(); show(); } });
    return labelled(words, input, hint ? el("small", {}, hint) : null);
  };
  const conditional = el("input", { type: "checkbox", onchange: () => { asked.conditional = conditional.checked; show(); } });
  const start = once(async () => {
    const job = await ask("/api/jobs", asked);
    if (job.state === "running") location.hash = link("watch", job.out);
    else started();
  });
  const form = el("form", { class: "start", onsubmit: (event) => {
    event.preventDefault();
    start();
  } },
    el("fieldset", {}, el("legend", {}, t("live.start.models")), ...models),
    el("div", { class: "fields" },
      text("data", t("live.start.data"), t("live.start.data.hint")),
      text("budget", t("live.start.budget"), t("live.start.budget.hint")),
      select(t("live.start.size"), [["", t("live.start.size.auto")], ["tiny", "tiny"], ["small", "small"], ["base", "base"]], "", (value) => { asked.size = value; show(); }),
      el("label", { class: "check" }, conditional, el("span", {}, t("live.start.conditional")))),
    el("p", { class: "command" }, command, copy),
    el("button", { type: "submit", class: "main" }, t("live.start")));
  show();
  return el("details", { class: "starting" }, el("summary", {}, t("live.start.open")), form);
}
