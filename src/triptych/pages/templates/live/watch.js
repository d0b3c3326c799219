// Watching: panels side by side while models train, and a slider back to any moment.

import { currentLanguage, duration, el, familyClass, isOfPoints, link, number, percent, redraw, runName, slider, t } from "./dom.js";
import { chart } from "./chart.js";
import { jobButtons, pictureAddress, progressWords, reportLink } from "./runs.js";

/** heading: of the title, where the view is a part of another one */
export function watchView(root, path, isShown, heading = "h1") {
  let runs = [], job = null, message = "", report = false, share = 1, lost = "";
  const logs = new Map(); // by the run's path: losses by objective, advice, warnings
  const panels = new Map(); // by the run's path
  const bar = el("progress", { max: 1, value: 0, "aria-label": t("live.progress") });
  const state = el("strong", { "aria-live": "polite" });
  const more = el("span", { class: "quiet" });
  const buttons = el("div", {});
  const head = el("div", { class: "whole" }, bar, el("p", {}, state, " ", more), buttons);
  const row = el("div", { class: "panels live-panels" });
  const time = slider(t("live.moment"), { min: 0, max: 1, step: 0.005, value: 1, shown: (v) => v === 1 ? t("live.now") : percent(v), oninput: (value) => { share = value; drawPanels(); } });
  root.replaceChildren(el(heading, {}, t("live.watch.title", { name: path === "." ? t("live.this_folder") : path.split("/").at(-1) })), head, time, row);

  const source = new EventSource(`/api/watch?path=${encodeURIComponent(path)}&lang=${currentLanguage()}`);
  source.onopen = () => { logs.clear(); lost = ""; }; // everything is told again
  source.onmessage = ({ data }) => {
    const event = JSON.parse(data);
    if (event.event === "state") {
      ({ runs, job, message, report } = event);
      drawHead();
    } else note(event);
    schedule();
  };
  source.onerror = () => {
    lost = t(source.readyState === EventSource.CLOSED ? "live.not_watched" : "live.unreachable");
    drawHead();
  };

  let drawn = "";
  let waiting = false;
  function schedule() { // many lines come at once
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; drawPanels(); });
  }

  const logOf = (run) => {
    if (!logs.has(run)) logs.set(run, { losses: new Map(), later: new Set(), advice: [], warnings: [], speed: null, redrawn: 0 });
    return logs.get(run);
  };

  function note(event) {
    if (event.event === "again") { logs.delete(event.run); return; }
    const log = logOf(event.run);
    if (event.event === "rewind" && event.to !== null) { // what came after it was given up
      const stays = ([at, , phase]) => phase < event.phase || at <= event.to;
      for (const [objective, points] of log.losses) log.losses.set(objective, points.filter(stays));
      log.advice = log.advice.filter(stays);
      log.redrawn += 1;
    }
    if (event.event === "losses") {
      if (event.phase === 0) log.speed = event.speed;
      else for (const key of Object.keys(event.losses)) log.later.add(key.split("/")[0]);
      for (const [key, value] of Object.entries(event.losses)) {
        const [objective, term] = key.split("/");
        if (term !== "total") continue;
        if (!log.losses.has(objective)) log.losses.set(objective, []);
        log.losses.get(objective).push([event.images, value, event.phase]);
      }
    } else if (event.event === "diagnosis") log.advice.push([event.images, event.advice, 0]);
    else if (event.text) log.warnings.push(event.text);
  }

  function drawHead() {
    const planned = runs.reduce((sum, run) => sum + run.planned, 0);
    const seen = runs.reduce((sum, run) => sum + (run.state === "done" ? run.planned : Math.min(run.images, run.planned)), 0);
    const begun = runs.length >= (job?.models ?? 1); // models may be trained one after another
    const done = begun && runs.every((run) => run.state === "done");
    const remaining = runs.reduce((sum, run) => run.remaining === null ? NaN : sum + run.remaining, 0);
    let words = t("live.preparing"), time = "";
    if (lost) words = lost;
    else if (job?.state === "waiting") words = t("live.job.waiting", { n: number(job.ahead) });
    else if (job && !["running", "done"].includes(job.state)) words = t(`live.job.${job.state}`);
    else if (!runs.length && !job) words = t("live.not_watched");
    else if (done && job?.state === "running") words = t("live.measuring");
    else if (done) words = t("live.all_done");
    else if (runs.some((run) => run.state === "training")) {
      words = t("live.training");
      if (begun && Number.isFinite(remaining)) time = t("live.left", { time: duration(remaining) });
    } else if (!job) words = t("live.stopped");
    if (state.textContent !== words) state.textContent = words;
    more.textContent = [time, message].filter(Boolean).join(" · ");
    bar.value = planned ? seen / planned : 0;
    const wanted = JSON.stringify([job, report, done, runs.some((run) => run.state === "done")]);
    if (wanted === drawn) return;
    if (redraw(buttons,
      job ? el("p", { class: "command" }, el("code", {}, job.command), jobButtons(job, () => {})) : "",
      el("p", { class: "actions" },
        report ? reportLink(path) : null,
        runs.some((run) => run.state === "done") ? el("a", { href: link("play", path) }, t("live.play")) : null,
        done && !runs.every(isOfPoints) ? el("a", { href: link("eyes", path) }, t("live.eyes")) : null))) drawn = wanted;
  }

  function drawPanels() {
    for (const [path, panel] of panels) {
      if (runs.some((run) => run.path === path)) continue;
      panel.node.remove();
      panels.delete(path);
      logs.delete(path);
    }
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
    const img = el("img", { alt: "", hidden: true, onload: () => img.classList.toggle("shrunk", img.naturalWidth > img.clientWidth * devicePixelRatio) });
    const panel = { img, title: el("h2", { class: "model" }), text: el("p", {}), charts: el("div", { class: "live-charts" }), notes: el("div", {}) };
    panel.node = el("article", { class: `panel ${familyClass(run)}` },
      panel.title, img, panel.text, panel.notes, panel.charts);
    return panel;
  }

  function drawPanel(panel, run, log) {
    const name = runName(run, runs); // of runs that are named alike, as seeds are, the folder as well
    if (panel.title.textContent !== name) panel.title.textContent = name;
    if (run.state === "damaged") {
      panel.text.textContent = t("live.damaged", { name: run.name, problem: run.problem });
      return;
    }
    const whole = Math.max(run.planned, run.pictures.at(-1) ?? 0);
    const until = share === 1 ? Infinity : share * whole;
    const seen = run.pictures.filter((each) => each <= until).at(-1);
    if (seen !== undefined) {
      const address = `${pictureAddress(run, seen)}${log.redrawn ? `?${log.redrawn}` : ""}`;
      if (panel.img.getAttribute("src") !== address) panel.img.src = address;
      panel.img.hidden = false;
      panel.img.alt = t("live.samples_after", { model: name, images: number(seen) });
    }
    const speed = log.speed === null ? "" : t("live.speed", { n: number(log.speed) });
    const images = share === 1 ? run.images : seen ?? 0;
    panel.text.textContent = [t("live.images", { n: number(images) }), share === 1 && run.state !== "done" ? progressWords(run) : "", share === 1 ? speed : ""].filter(Boolean).join(" · ");
    const advice = log.advice.filter(([at]) => at <= until).at(-1)?.[1];
    panel.notes.replaceChildren(
      ...(advice === undefined ? [] : advice.length ? advice.map((words) => el("p", { class: "advice" }, words)) : [el("p", { class: "well" }, t("live.well"))]),
      ...log.warnings.map((words) => el("p", { class: "advice" }, words)));
    const now = [...log.losses].filter(([objective]) => share === 1 || !log.later.has(objective));
    panel.charts.replaceChildren(...now.map(([objective, points]) => {
      const title = t(`objective.${objective}`);
      return el("figure", {}, el("figcaption", {}, title), chart(title, points.filter(([at]) => at <= until)));
    }));
  }

  drawHead();
  return () => source.close();
}
