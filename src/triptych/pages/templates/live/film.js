// Films: pictures whose columns are moments. One slider moves all films of a view at once.

import { el, percent, slider, t } from "./dom.js";

const FRAME = 90; // milliseconds of a moment while it plays

/** A canvas that shows one moment of a film, or a whole picture. */
export class Screen {
  constructor(words) {
    this.canvas = el("canvas", { role: "img", "aria-label": words, width: 16, height: 4 });
    this.bitmap = null;
    this.film = null;
    this.share = 0;
  }

  /** rows: images of a moment that stand in a row of the screen */
  put({ bitmap, film }, across = 1) {
    if (bitmap !== this.bitmap) this.bitmap?.close(); // megabytes that nobody else frees soon
    this.bitmap = bitmap;
    this.film = film;
    this.across = across;
    this.draw();
  }

  /** Show all moments beside each other. */
  putWhole({ bitmap }) {
    this.put({ bitmap, film: null });
  }

  /** Show the moment at a share, 0 to 1, of the film. */
  moveTo(share) {
    this.share = share;
    this.draw();
  }

  get words() {
    return this.film?.words?.[this.moment] ?? "";
  }

  get moment() {
    return Math.round(this.share * ((this.film?.points ?? 1) - 1));
  }

  draw() {
    if (!this.bitmap) return;
    const context = this.canvas.getContext("2d");
    if (!this.film) {
      this.canvas.width = this.bitmap.width;
      this.canvas.height = this.bitmap.height;
      context.drawImage(this.bitmap, 0, 0);
      this.smooth();
      return;
    }
    const { rows, points } = this.film;
    const width = this.bitmap.width / points, height = this.bitmap.height / rows;
    const across = Math.min(this.across, rows), down = Math.ceil(rows / across);
    this.canvas.width = across * (width + 1) - 1;
    this.canvas.height = down * (height + 1) - 1;
    for (let row = 0; row < rows; row++) {
      const left = (row % across) * (width + 1), top = Math.floor(row / across) * (height + 1);
      context.drawImage(this.bitmap, this.moment * width, row * height, width, height, left, top, width, height);
    }
    this.smooth();
  }

  /** Let no pixels be dropped where the picture is shown smaller than it is. */
  smooth() {
    this.canvas.classList.toggle("shrunk", this.canvas.width > this.canvas.clientWidth * devicePixelRatio);
  }
}

/** The slider of all films, and a button that plays them forth and back. */
export class Transport {
  constructor(words, start = 0) {
    this.screens = [];
    this.onmove = () => {};
    this.share = start;
    this.timer = null;
    this.direction = 1;
    this.slider = slider(words, {
      min: 0, max: 1, step: 0.01, value: start, shown: (at) => percent(at), oninput: (share) => { this.stop(); this.moveTo(share); },
    });
    this.button = el("button", { type: "button", onclick: () => this.timer ? this.stop() : this.play() }, t("live.play.film"));
    this.node = el("div", { class: "transport" }, this.slider, this.button);
  }

  add(screen) {
    this.remove(screen);
    this.screens.push(screen);
    screen.moveTo(this.share);
  }

  remove(screen) {
    this.screens = this.screens.filter((each) => each !== screen);
  }

  moveTo(share) {
    this.share = share;
    for (const screen of this.screens) screen.moveTo(share);
    this.onmove();
  }

  play() {
    this.button.textContent = t("live.pause.film");
    const step = () => {
      const moments = Math.max(2, ...this.screens.map((screen) => screen.film?.points ?? 2));
      let share = this.share + this.direction / (moments - 1);
      if (share > 1 || share < 0) {
        this.direction = -this.direction;
        share = Math.min(1, Math.max(0, share));
      }
      this.moveTo(share);
      this.slider.set(share);
      if (!this.button.isConnected) this.stop();
    };
    this.timer = setInterval(step, FRAME);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    this.button.textContent = t("live.play.film");
  }
}
