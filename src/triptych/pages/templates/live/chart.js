// A small line chart of one objective, which grows while a model trains.

import { number, short, svg, t } from "./dom.js";

const WIDTH = 320, HEIGHT = 120, LEFT = 44, BOTTOM = 20, TOP = 8;
const POINTS = 200;

/** One line over images seen; `points` are [images, value]. Positive wide ranges are logarithmic. */
export function chart(title, points) {
  const shown = thin(points.filter(([, value]) => Number.isFinite(value)));
  const values = shown.map(([, value]) => value);
  const low = Math.min(...values), high = Math.max(...values);
  const isLog = low > 0 && high / low > 30;
  const scale = isLog ? Math.log : (value) => value;
  const span = scale(high) - scale(low) || 1;
  const last = Math.max(1, ...shown.map(([images]) => images));
  const x = (images) => LEFT + (WIDTH - LEFT - 6) * images / last;
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - (scale(value) - scale(low)) / span);
  const line = shown.map(([images, value]) => `${x(images).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  const words = shown.length ? t("live.chart", { title, first: short(values[0]), last: short(values.at(-1)) }) : title;
  return svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", role: "img", "aria-label": words },
    svg("line", { class: "rule", x1: LEFT, x2: WIDTH - 6, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM }),
    ...(shown.length ? [
      svg("text", { x: LEFT - 6, y: TOP + 8, "text-anchor": "end" }, short(high)),
      svg("text", { x: LEFT - 6, y: HEIGHT - BOTTOM, "text-anchor": "end" }, short(low)),
      svg("text", { x: WIDTH - 6, y: HEIGHT - 5, "text-anchor": "end" }, number(last)),
      svg("polyline", { class: "line", points: line }),
    ] : []));
}

/** At most POINTS points, each the mean of its neighbours. */
function thin(points) {
  const size = Math.max(1, Math.ceil(points.length / POINTS));
  const groups = [];
  for (let start = 0; start < points.length; start += size) {
    const group = points.slice(start, start + size);
    groups.push([group.at(-1)[0], group.reduce((sum, [, value]) => sum + value, 0) / group.length]);
  }
  return groups;
}
