// The blind test: real or made? Only the server knows, until all is judged.

import { ask, el, familyClass, inOrder, isInside, isOfPoints, labelled, number, once, percent, runName, save, select, t, tried } from "./dom.js";

const COUNTS = [40, 60, 100];
const MOST = 6; // runs of a test

export async function eyesView(root, path, isShown) {
  const library = await tried(() => ask("/api/library"));
  if (library === null || !isShown()) return;
  const all = [...library.comparisons.flatMap((each) => each.runs), ...library.runs].filter((run) => run.state === "done" && run.trained && !isOfPoints(run));
  const names = new Map(all.map((run) => [run.path, run]));
  const inside = all.filter((run) => path && isInside(run, path));
  const offered = inOrder(inside.length ? inside : all.slice(0, MOST));
  let onkey = null;
  const listen = (event) => onkey?.(event);
  document.addEventListener("keydown", listen);
  begin();
  return () => document.removeEventListener("keydown", listen);

  function begin() {
    onkey = null;
    delete root.dataset.unfinished;
    const asked = { runs: offered.slice(0, MOST).map((run) => run.path), count: COUNTS[0], mode: "one" };
    const boxes = offered.map((run, index) => {
      const box = el("input", { type: "checkbox", checked: index < MOST, onchange: () => {
        asked.runs = offered.map((each) => each.path).filter((each) => each === run.path ? box.checked : asked.runs.includes(each));
      } });
      return el("label", { class: `check ${familyClass(run)}` }, box, el("span", { class: "model" }, runName(run, offered)));
    });
    const results = el("section", {});
    const start = once(async () => {
      const test = await ask("/api/eyes", asked);
      if (isShown()) judge(test);
    });
    const file = el("input", { type: "file", accept: ".json,application/json", onchange: () => file.files[0] && tried(async () => {
      const [chosen] = file.files;
      file.value = ""; // so that the same one may be chosen again
      const reply = await ask("/api/eyes/import", JSON.parse(await chosen.text()));
      await showResults(results);
      results.prepend(el("p", { role: "status" }, t("live.eyes.imported", { n: number(reply.new) })));
    }) });
    root.replaceChildren(el("h1", {}, t("live.eyes.title")), el("p", { class: "intro" }, t("live.eyes.intro")),
      offered.length === 0 ? el("p", { class: "intro" }, t("live.nothing_to_play")) : el("form", { class: "start", onsubmit: (event) => { event.preventDefault(); start(); } },
        el("fieldset", {}, el("legend", {}, t("live.eyes.models")), ...boxes),
        el("div", { class: "fields" },
          select(t("live.eyes.mode"), [["one", t("live.eyes.one")], ["two", t("live.eyes.two")]], "one", (value) => { asked.mode = value; }),
          select(t("live.eyes.count"), COUNTS.map((n) => [String(n), number(n)]), String(COUNTS[0]), (value) => { asked.count = Number(value); })),
        el("button", { type: "submit", class: "main" }, t("live.eyes.start"))),
      results,
      el("div", { class: "controls" },
        el("button", { type: "button", onclick: () => tried(async () => save(new Blob([JSON.stringify(await ask("/api/eyes/export"))], { type: "application/json" }), "blind-tests.json")) }, t("live.eyes.export")),
        labelled(t("live.eyes.import"), file)));
    showResults(results);
  }

  function judge({ name, count, mode }) {
    const judged = Array(count).fill(null);
    let now = 0, seen = false;
    root.dataset.unfinished = "yes";
    const img = el("img", { alt: t("live.eyes.image"), class: `judged judged-${mode}`, onload: () => { seen = true; img.hidden = false; words.textContent = position(); },
      onerror: () => tried(() => ask(img.getAttribute("src")), (why) => { words.textContent = why; }) });
    const position = () => t("live.eyes.progress", { n: number(now + 1), count: number(count) });
    const progress = el("progress", { max: count, value: 0, "aria-label": t("live.progress") });
    const words = el("p", { "aria-live": "polite" });
    const answers = mode === "one" ? [["live.eyes.real", true], ["live.eyes.made", false]] : [["live.eyes.left", true], ["live.eyes.right", false]];
    const buttons = answers.map(([key, answer]) => el("button", { type: "button", class: "main", onclick: () => answered(answer) }, t(key)));
    onkey = (event) => {
      if (event.repeat || event.altKey || event.ctrlKey || event.metaKey) return;
      const answer = { ArrowLeft: true, ArrowRight: false }[event.key];
      if (answer !== undefined && img.isConnected) { event.preventDefault(); answered(answer); }
      if (event.key === "Backspace" && img.isConnected) back();
    };
    function answered(answer) {
      if (now === count) finish(); // the server was away when all was judged
      if (now >= count || !seen) return; // nobody judges what is not there yet
      judged[now] = answer;
      now += 1;
      if (now === count) finish();
      else show();
    }
    function back() {
      if (now > 0) { now -= 1; show(); }
    }
    function show() {
      seen = false;
      img.hidden = true;
      img.src = `/api/eyes/${name}/${now}.png`;
      progress.value = now;
      words.textContent = `${position()} ${t("live.asking")}`;
    }
    const finish = once(async () => {
      const reply = await ask(`/api/eyes/${name}`, { judged });
      if (!isShown()) return;
      onkey = null;
      delete root.dataset.unfinished;
      const all = await tried(() => ask("/api/eyes/results"));
      const results = el("section", {});
      root.replaceChildren(el("h1", {}, t("live.eyes.done")), table(reply.own, all?.measured ?? {}), results,
        el("p", { class: "actions" }, el("button", { type: "button", onclick: () => { begin(); root.focus(); } }, t("live.eyes.again"))));
      root.focus();
      showResults(results);
    });
    root.replaceChildren(el("h1", {}, t(mode === "one" ? "live.eyes.question.one" : "live.eyes.question.two")), progress, words,
      el("div", { class: "stage" }, img), el("div", { class: "answers" }, buttons),
      el("p", { class: "quiet" }, t("live.eyes.keys")),
      el("p", { class: "actions" }, el("button", { type: "button", onclick: back }, t("live.eyes.back")), el("button", { type: "button", onclick: finish }, t("live.eyes.stop"))));
    show();
    root.focus();
  }

  async function showResults(results) {
    const reply = await tried(() => ask("/api/eyes/results"));
    if (!reply) return;
    const parts = ["one", "two"].filter((mode) => reply[mode].length).flatMap((mode) => [el("h3", {}, t(`live.eyes.${mode}`)), table(reply[mode], reply.measured)]);
    results.replaceChildren(...(parts.length ? [el("h2", {}, t("live.eyes.all")), ...parts, el("p", { class: "intro" }, t("live.eyes.note"))] : []));
  }

  function table(entries, measured) {
    const name = (entry) => measured[entry.weights] && names.has(entry.run) ? runName(names.get(entry.run), all)
      : `${entry.model} (${entry.weights.slice(0, 6)})`; // judged elsewhere: weights tell runs of one model apart
    const cell = (value) => el("td", {}, value === undefined || value === null ? t("live.not_measured") : percent(value));
    return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": t("live.eyes.all") }, el("table", {},
      el("thead", {}, el("tr", {}, ...["model", "accuracy", "judgements", "people", "real_or_fake", "recognisable"].map((key) => el("th", { scope: "col" }, t(`live.eyes.column.${key}`))))),
      el("tbody", {}, entries.map((entry) => el("tr", { class: familyClass({ family: entry.model.split(":")[0] }) },
        el("th", { scope: "row", class: "model" }, name(entry)),
        el("td", {}, el("strong", {}, percent(entry.value)), el("small", {}, t("live.eyes.interval", { low: percent(entry.low), high: percent(entry.high) })), el("small", {}, t(entry.above_chance ? "live.eyes.told" : "live.eyes.not_told"))),
        el("td", {}, number(entry.n)), el("td", {}, number(entry.people)),
        cell(measured[entry.weights]?.real_or_fake), cell(measured[entry.weights]?.recognisable))))));
  }
}
