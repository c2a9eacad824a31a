// Traces of a signal on a grid: the tiles of the stretch that is shown are fetched (datasets/viewer/trace.py), nothing else of it.
(() => {
  const { Frames } = window.AIMass;
  const MM = 96 / 25.4; // pixels of a page for one millimetre
  const COLUMNS = 1024; // of a tile
  const [LEAST_ROW, MOST_ROW] = [18 * MM, 40 * MM];
  const PAPER = 25; // millimetres for a second
  const [FINE, COARSE, INK, NAME] = ["#f6dcdc", "#e7b3b3", "#14203c", "#5a2a2a"];
  const [WARM, COLD] = ["rgba(214, 69, 0, ", "rgba(0, 92, 214, "];
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  const filled = (text, values) => text.replace(/\{(\w+)\}/g, (_all, name) => values[name]);

  class Traces {
    constructor(root) {
      this.root = root;
      this.texts = root.dataset;
      this.canvas = root.querySelector("canvas");
      this.context = this.canvas.getContext("2d");
      this.frames = new Frames(this.texts.signal, this.texts.lost);
      this.from = 0;
      this.waits = false;
    }

    part(name) { return this.root.querySelector(`[data-do="${name}"]`); }

    async open() {
      this.status(this.texts.loading);
      try {
        this.about = await this.frames.about(false);
        this.signal = this.about.signal;
        const whole = await this.frames.load("trace0", 0);
        this.rows = this.signal.channels.map((_name, row) => this.extremes(whole, row));
      } catch (error) {
        this.problem(error.message || this.texts.lost);
        return;
      }
      const marks = this.about.heat.signal || [];
      this.root.querySelector("[data-part=heat]").hidden = !marks.length;
      this.controls();
      this.paper();
      if (this.texts.heat && marks.length) {
        const [first] = [...marks].sort((a, b) => Math.abs(b.strength) - Math.abs(a.strength));
        this.go((first.times[0] + first.times[1] - this.span) / 2);
      }
    }

    // Least, greatest and the middle of a channel over the whole recording.
    extremes(tile, row) {
      let [low, high] = [Infinity, -Infinity];
      for (let column = 0; column < tile.columns; column += 1) {
        const at = 2 * (row * tile.columns + column);
        low = Math.min(low, Number.isNaN(tile.values[at]) ? low : tile.values[at]);
        high = Math.max(high, Number.isNaN(tile.values[at + 1]) ? high : tile.values[at + 1]);
      }
      return low <= high ? { low, high } : { low: -1, high: 1 };
    }

    get width() { return Math.max(1, this.canvas.clientWidth); }

    paper() {
      const speed = this.signal.timed ? PAPER * MM : this.width / this.signal.seconds;
      this.show(Math.min(this.signal.seconds, this.width / speed), this.from);
    }

    show(span, from) {
      const least = Math.min(this.signal.seconds, this.signal.seconds / 2 ** (this.about.planes.length + 4));
      this.span = clamp(span, least, this.signal.seconds);
      this.go(from);
    }

    go(from) {
      this.from = clamp(from, 0, this.signal.seconds - this.span);
      const slider = this.part("time");
      slider.max = Math.max(1e-9, this.signal.seconds - this.span);
      slider.value = this.from;
      this.draw();
    }

    zoom(factor, share = 0.5) {
      const at = this.from + share * this.span;
      const span = this.span / factor;
      this.show(span, at - share * span);
    }

    heights() {
      return this.rows.map(({ low, high }) => (this.signal.millivolts ? clamp((high - low) * 10 * MM + 6 * MM, LEAST_ROW, MOST_ROW) : LEAST_ROW * 1.4));
    }

    draw() {
      if (this.waits || !this.rows) return;
      this.waits = true;
      requestAnimationFrame(() => {
        this.waits = false;
        this.paint();
      });
    }

    async paint() {
      const { signal, canvas, context } = this;
      const heights = this.heights();
      canvas.style.height = `${heights.reduce((a, b) => a + b, 0)}px`;
      const ratio = window.devicePixelRatio || 1;
      const high = Math.round(canvas.clientHeight * ratio);
      const wide = Math.round(this.width * ratio);
      const shown = [this.from, this.span];
      const speed = this.width / this.span;
      const level = clamp(Math.ceil(Math.log2((speed * ratio * signal.seconds) / COLUMNS)), 0, this.about.planes.length - 1);
      const length = signal.seconds / 2 ** level;
      const first = Math.floor(this.from / length);
      const last = Math.min(2 ** level - 1, Math.floor((this.from + this.span) / length));
      const places = Array.from({ length: last - first + 1 }, (_none, place) => first + place);
      canvas.setAttribute("aria-busy", "true");
      let tiles;
      try {
        tiles = await Promise.all(places.map((place) => this.frames.load(`trace${level}`, place)));
      } catch (error) {
        if (error.name !== "AbortError") this.problem(error.message || this.texts.lost);
        return;
      }
      if (shown[0] !== this.from || shown[1] !== this.span) return;
      this.problem("");
      Object.assign(canvas, { width: wide, height: high });
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      this.grid(speed, high / ratio);
      this.marks(speed, high / ratio);
      let top = 0;
      heights.forEach((height, row) => {
        tiles.forEach((tile, place) => this.trace(tile, row, places[place] * length, length, speed, top, height));
        context.fillStyle = NAME;
        context.font = "600 13px system-ui, sans-serif";
        const name = signal.channels[row] || filled(this.texts.channel, { number: row + 1 });
        context.fillText(name.toUpperCase(), 4, top + 14);
        top += height;
      });
      canvas.removeAttribute("aria-busy");
      Object.assign(canvas.dataset, { from: this.from.toFixed(3), span: this.span.toFixed(3), level });
      this.tell(speed);
    }

    // Paper: lines for each millimetre (40 ms, 0.1 mV at 25 mm/s) where these can be told apart, stronger ones for each fifth.
    grid(speed, height) {
      const { context, signal } = this;
      context.fillStyle = "#fff";
      context.fillRect(0, 0, this.width, height);
      let step = signal.timed ? 0.04 : 10 ** Math.floor(Math.log10(this.span / 20));
      while (step * speed < 3) step *= 5;
      const lines = (distance, colour) => {
        context.fillStyle = colour;
        const start = Math.ceil(this.from / distance);
        for (let k = start; k * distance <= this.from + this.span; k += 1) context.fillRect((k * distance - this.from) * speed, 0, 1, height);
      };
      const across = (distance, colour) => {
        context.fillStyle = colour;
        for (let y = distance; y < height; y += distance) context.fillRect(0, y, this.width, 1);
      };
      lines(step, FINE);
      if (signal.millivolts) across(MM, FINE);
      lines(5 * step, COARSE);
      if (signal.millivolts) across(5 * MM, COARSE);
    }

    marks(speed, height) {
      if (!this.part("heat").checked) return;
      (this.about.heat.signal || []).forEach(({ times, strength }) => {
        this.context.fillStyle = `${strength > 0 ? WARM : COLD}${0.45 * Math.abs(strength)})`;
        this.context.fillRect((times[0] - this.from) * speed, 0, (times[1] - times[0]) * speed, height);
      });
    }

    trace(tile, row, begins, length, speed, top, height) {
      const { context } = this;
      const { low, high } = this.rows[row];
      const scale = this.signal.millivolts ? 10 * MM : (height - 24) / (high - low || 1);
      const middle = top + height / 2 + ((low + high) / 2) * scale;
      context.save();
      context.beginPath();
      context.rect(0, top, this.width, height);
      context.clip();
      context.beginPath();
      context.strokeStyle = INK;
      context.lineWidth = 1.2;
      let before = false;
      for (let column = 0; column < tile.columns; column += 1) {
        const at = 2 * (row * tile.columns + column);
        const [least, most] = [tile.values[at], tile.values[at + 1]];
        if (Number.isNaN(least)) {
          before = false;
          continue;
        }
        const x = (begins + ((column + 0.5) / tile.columns) * length - this.from) * speed;
        if (before) context.lineTo(x, middle - most * scale);
        else context.moveTo(x, middle - most * scale);
        if (least !== most) context.lineTo(x, middle - least * scale);
        before = true;
      }
      context.stroke();
      context.restore();
    }

    tell(speed) {
      const { signal, texts } = this;
      const values = { from: this.from.toFixed(2), to: (this.from + this.span).toFixed(2), seconds: signal.seconds.toFixed(2) };
      const scale = signal.millivolts ? filled(texts.paper, { speed: (speed / MM).toPrecision(3) }) : texts.scaled;
      this.status(`${filled(signal.timed ? texts.span : texts.samples, values)} · ${scale}`);
    }

    status(text) { this.root.querySelector(".viewer-status").textContent = text; }

    problem(text) {
      const place = this.root.querySelector(".viewer-problem");
      place.textContent = text;
      place.hidden = !text;
      if (text) this.status("");
    }

    controls() {
      const { canvas } = this;
      const keys = {
        ArrowLeft: () => this.go(this.from - this.span / 10), ArrowRight: () => this.go(this.from + this.span / 10),
        PageUp: () => this.go(this.from - this.span), PageDown: () => this.go(this.from + this.span),
        Home: () => this.go(0), End: () => this.go(this.signal.seconds),
        "+": () => this.zoom(1.5), "=": () => this.zoom(1.5), "-": () => this.zoom(1 / 1.5),
        0: () => this.show(this.signal.seconds, 0),
      };
      canvas.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
        event.preventDefault();
        keys[event.key]();
      });
      canvas.addEventListener("wheel", (event) => {
        if (!(event.shiftKey || event.ctrlKey || document.activeElement === canvas)) return; // else the page scrolls
        event.preventDefault();
        const turn = event.deltaY || event.deltaX;
        if (event.shiftKey) this.go(this.from + (turn / 400) * this.span);
        else this.zoom(Math.exp(-turn / 400), (event.clientX - canvas.getBoundingClientRect().left) / this.width);
      }, { passive: false });
      const down = new Map();
      canvas.addEventListener("pointerdown", (event) => {
        canvas.setPointerCapture(event.pointerId);
        down.set(event.pointerId, event.clientX);
      });
      canvas.addEventListener("pointermove", (event) => {
        if (!down.has(event.pointerId)) return;
        const before = [...down.values()];
        down.set(event.pointerId, event.clientX);
        const after = [...down.values()];
        if (down.size === 1) this.go(this.from - ((after[0] - before[0]) / this.width) * this.span);
        else if (Math.abs(before[0] - before[1]) > 5) this.zoom(Math.abs(after[0] - after[1]) / Math.abs(before[0] - before[1]));
      });
      ["pointerup", "pointercancel"].forEach((name) => canvas.addEventListener(name, (event) => down.delete(event.pointerId)));
      this.part("time").addEventListener("input", (event) => this.go(Number(event.target.value)));
      this.part("heat").addEventListener("change", () => this.draw());
      this.part("in").addEventListener("click", () => this.zoom(1.5));
      this.part("out").addEventListener("click", () => this.zoom(1 / 1.5));
      this.part("paper").hidden = !this.signal.timed;
      this.part("paper").addEventListener("click", () => this.paper());
      this.part("whole").addEventListener("click", () => this.show(this.signal.seconds, 0));
      new ResizeObserver(() => this.draw()).observe(this.root);
    }
  }

  Object.assign(window.AIMass, { Traces });
})();
