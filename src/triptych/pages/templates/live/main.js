// The page: which view is shown follows from the address, words from the language chosen.

import { currentLanguage, loadTexts, say, t, tried } from "./dom.js";
import { eyesView } from "./eyes.js";
import { planeView } from "./plane.js";
import { playView } from "./play.js";
import { runsView } from "./runs.js";
import { watchView } from "./watch.js";

const VIEWS = { runs: runsView, watch: watchView, play: playView, plane: planeView, eyes: eyesView };
const root = document.getElementById("view");
let leave = () => {};
let shown = 0;

async function show() {
  const [name, path = ""] = location.hash.slice(1).split("=");
  const view = VIEWS[name] ?? runsView;
  leave();
  leave = () => {};
  delete root.dataset.unfinished;
  say("");
  for (const anchor of document.querySelectorAll("nav a")) {
    if (anchor.hash === `#${name || "runs"}`) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
  const turn = ++shown;
  const isShown = () => turn === shown;
  document.title = `${t(`live.nav.${name in VIEWS && name !== "watch" ? name : "runs"}`)} - ${t("live.title")}`;
  let decoded = "";
  try {
    decoded = decodeURIComponent(path);
  } catch { /* an address that somebody mistyped names nothing */ }
  const ended = (await view(root, decoded, isShown)) ?? (() => {});
  if (isShown()) leave = ended;
  else ended();
}

async function speak(code) {
  await loadTexts(code);
  for (const button of document.querySelectorAll("[data-language]")) button.setAttribute("aria-pressed", String(button.dataset.language === code));
}

/** Whether what is unfinished may be lost. */
const mayLeave = () => !root.dataset.unfinished || confirm(t("live.unfinished"));

function keep(code) {
  try {
    localStorage.setItem("language", code);
  } catch { /* a browser that keeps nothing asks again next time */ }
}

for (const button of document.querySelectorAll("[data-language]")) {
  button.addEventListener("click", async () => {
    if (!mayLeave()) return;
    await tried(async () => {
      await speak(button.dataset.language);
      keep(button.dataset.language);
      await show();
    });
  });
}
for (const anchor of document.querySelectorAll("header a")) {
  anchor.addEventListener("click", (event) => { if (!mayLeave()) event.preventDefault(); });
}
addEventListener("beforeunload", (event) => { if (root.dataset.unfinished) event.preventDefault(); });
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); root.focus(); });
addEventListener("hashchange", () => { show(); root.focus({ preventScroll: true }); scrollTo(0, 0); });
if (location.search) history.replaceState(null, "", location.pathname + location.hash); // a token is no part of what is shared

let kept = null;
try {
  kept = localStorage.getItem("language");
} catch { /* the served language then */ }
await speak(kept && document.querySelector(`[data-language="${CSS.escape(kept)}"]`) ? kept : currentLanguage());
await show();
