// Watching: panels side by side while models train, and a slider back to any moment.

import { ask, currentLanguage, duration, el, familyClass, link, number, percent, runName, slider, t } from "./dom.js";
import { chart } from "./chart.js";
import { jobButtons, pictureAddress, progressWords } from "./runs.js";

export function watchView(place, path) {
  let runs = [], job = null, message = "", report = false, share = 1;
  const logs = new Map(); // by the run's path: losses by objective, advice, warnings
  const panels = new Map(); // by the run's path
  const head = el("div", { class: "whole" });
  const row = el("div", { class: "panels live-panels" });
  const time = slider(t("live.moment"), { min: 0, max: 1, step: 0.005, value: 1, shown: (v) => v === 1 ? t("live.now") : percent(v), oninput: (value) => { share = value; drawPanels(); } });
  place.replaceChildren(el("h1", {}, t("live.watch.title", { name: path.split("/").at(-1) })), head, time, row);

  const source = new EventSource(`/api/watch?path=${encodeURIComponent(path)}&lang=${currentLanguage()}`);
  source.onopen = () => logs.clear(); // everything is told again
  source.onmessage = ({ data }) => {
    const event = JSON.parse(data);
    if (event.event === "state") {
      const before = runs.some((run) => run.state !== "done") || job?.state === "running";
      ({ runs, job, message } = event);
      drawHead();
      const now = runs.some((run) => run.state !== "done") || job?.state === "running";
      if (before !== now || !report) findReport();
    } else note(event);
    schedule();
  };
  source.onerror = () => head.classList.toggle("lost", source.readyState !== EventSource.OPEN);

  let waiting = false;
  function schedule() { // many lines come at once
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; drawPanels(); });
  }

  const logOf = (run) => {
    if (!logs.has(run)) logs.set(run, { losses: new Map(), advice: [], warnings: [], speed: null });
    return logs.get(run);
  };

  function note(event) {
    if (event.event === "again") { logs.delete(event.run); return; }
    const log = logOf(event.run);
    if (event.event === "losses") {
      if (event.phase === 0) log.speed = event.speed;
      for (const [key, value] of Object.entries(event.losses)) {
        const [objective, term] = key.split("/");
        if (term !== "total") continue;
        if (!log.losses.has(objective)) log.losses.set(objective, []);
        log.losses.get(objective).push([event.images, value]);
      }
    } else if (event.event === "diagnosis") log.advice.push([event.images, event.advice]);
    else if (event.text) log.warnings.push(event.text);
  }

  async function findReport() {
    const library = await ask("/api/library").catch(() => null);
    report = library?.comparisons.find((each) => each.path === path)?.report ?? false;
    drawHead();
  }

  function drawHead() {
    head.classList.remove("lost");
    const planned = runs.reduce((sum, run) => sum + run.planned, 0);
    const seen = runs.reduce((sum, run) => sum + (run.state === "done" ? run.planned : Math.min(run.images, run.planned)), 0);
    const done = runs.length > 0 && runs.every((run) => run.state === "done");
    const left = runs.reduce((sum, run) => run.remaining === null ? NaN : sum + run.remaining, 0);
    let words = t("live.preparing");
    if (job?.state === "waiting") words = t("live.job.waiting", { n: number(job.ahead) });
    else if (done && job?.state === "running") words = t("live.measuring");
    else if (done) words = t("live.all_done");
    else if (job && job.state !== "running") words = t(`live.job.${job.state}`);
    else if (runs.length) words = Number.isFinite(left) ? t("live.left", { time: duration(left) }) : t("live.training");
    head.replaceChildren(
      el("progress", { max: 1, value: planned ? seen / planned : 0, "aria-label": t("live.progress") }),
      el("p", { "aria-live": "polite" }, el("strong", {}, words), " ", el("span", { class: "quiet" }, message)),
      job ? el("p", { class: "command" }, el("code", {}, job.command), jobButtons(job, () => {})) : "",
      el("p", { class: "actions" },
        report ? el("a", { href: `/files/${path.split("/").map(encodeURIComponent).join("/")}/report.html`, target: "_blank", rel: "noopener" }, t("live.report")) : null,
        runs.some((run) => run.state === "done") ? el("a", { href: link("play", path) }, t("live.play")) : null,
        done ? el("a", { href: link("eyes", path) }, t("live.eyes")) : null));
  }

  function drawPanels() {
    for (const run of runs) {
      if (!panels.has(run.path)) {
        panels.set(run.path, makePanel(run));
        row.append(panels.get(run.path).node);
      }
      drawPanel(panels.get(run.path), run, logOf(run.path));
    }
    row.classList.toggle("panels-3", runs.length === 3);
  }

  function makePanel(run) {
    const img = el("img", { alt: "", hidden: true });
    const panel = { img, text: el("p", {}), charts: el("div", { class: "live-charts" }), said: el("div", {}) };
    panel.node = el("article", { class: `panel ${familyClass(run)}` },
      el("h2", { class: "model" }, runName(run)), img, panel.text, panel.said, panel.charts);
    return panel;
  }

  function drawPanel(panel, run, log) {
    if (run.state === "damaged") {
      panel.text.textContent = t("live.damaged", { name: run.name, problem: run.problem });
      return;
    }
    const whole = Math.max(run.planned, run.pictures.at(-1) ?? 0);
    const until = share === 1 ? Infinity : share * whole;
    const seen = run.pictures.filter((each) => each <= until).at(-1);
    if (seen !== undefined) {
      const address = pictureAddress(run, seen);
      if (panel.img.getAttribute("src") !== address) panel.img.src = address;
      panel.img.hidden = false;
      panel.img.alt = t("live.samples_after", { model: runName(run), images: number(seen) });
    }
    const speed = log.speed === null ? "" : t("live.speed", { n: number(log.speed) });
    const images = share === 1 ? run.images : seen ?? 0;
    panel.text.textContent = [t("live.images", { n: number(images) }), share === 1 && run.state !== "done" ? progressWords(run) : "", share === 1 ? speed : ""].filter(Boolean).join(" · ");
    const advice = log.advice.filter(([at]) => at <= until).at(-1)?.[1];
    panel.said.replaceChildren(
      ...(advice === undefined ? [] : advice.length ? advice.map((words) => el("p", { class: "advice" }, words)) : [el("p", { class: "well" }, t("live.well"))]),
      ...log.warnings.map((words) => el("p", { class: "advice" }, words)));
    panel.charts.replaceChildren(...[...log.losses].map(([objective, points]) => {
      const title = t(`objective.${objective}`);
      return el("figure", {}, el("figcaption", {}, title), chart(title, points.filter(([at]) => at <= until), 0));
    }));
  }

  drawHead();
  return () => source.close();
}
