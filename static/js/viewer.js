// The viewer of a record's file: opened by its button, without which the still picture stays. See docs/adr/0026-viewer.md.
(() => {
  const { Frames, Painter } = window.AIMass;
  const AHEAD = 2; // neighbours fetched in the direction of scrolling
  const PLAYING = 4; // the same while it plays
  const MOST_ZOOM = 40;
  const REFORMATTED = ["axial", "coronal", "sagittal"];
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  const said = (number) => String(Math.abs(number) >= 10 ? Math.round(number) : Number(number.toPrecision(3)));
  const filled = (text, values) => text.replace(/\{(\w+)\}/g, (_all, name) => values[name]);

  class Viewer {
    constructor(root) {
      this.root = root;
      this.texts = root.dataset;
      this.canvas = root.querySelector("canvas");
      this.painter = new Painter(this.canvas);
      this.frames = new Frames(this.texts.viewer, this.texts.lost);
      this.view = { zoom: 1, x: 0, y: 0, window: { center: 0, width: 1 } };
      this.index = 0;
      this.way = 1;
      this.shown = null;
      this.playing = false;
      this.drawing = false;
    }

    part(name) { return this.root.querySelector(`[data-do="${name}"]`); }

    async open() {
      this.status(this.texts.loading);
      try {
        this.about = await this.frames.about(false);
        if (this.texts.heat && this.about.more) this.about = await this.frames.about(true); // reasons lie in its planes
      } catch (error) {
        this.fail(error);
        return;
      }
      this.choices();
      this.beside = new window.AIMass.Beside(this);
      this.show("beside", REFORMATTED.every((name) => this.about.planes.some((plane) => plane.name === name)) || this.about.more);
      window.AIMass.controls(this);
      this.strip();
      this.begin();
    }

    // Small frames from all over a clip, to choose from; each is one request, made when it comes into view.
    strip() {
      const strip = this.about.planes.find((plane) => plane.name === "strip");
      const box = this.root.querySelector(".viewer-strip");
      box.hidden = !strip;
      if (!strip) return;
      const clip = this.about.planes.find((plane) => plane.name === "clip");
      const buttons = Array.from({ length: strip.count }, (_none, place) => {
        const index = Math.round((place * (clip.count - 1)) / Math.max(1, strip.count - 1));
        const button = document.createElement("button");
        const picture = document.createElement("img");
        Object.assign(picture, { loading: "lazy", width: strip.width, height: strip.height, src: `${this.frames.base}strip/${place}/` });
        picture.alt = filled(this.texts.plane, { plane: clip.label, index: index + 1, count: clip.count });
        button.type = "button";
        button.append(picture);
        button.addEventListener("click", () => { this.stop(); this.go(index); });
        return button;
      });
      box.replaceChildren(...buttons);
    }

    // At the strongest reason where these are to be seen, else at the beginning.
    begin() {
      const [plane, marks] = Object.entries(this.about.heat)[0] || [];
      this.show("heat", Boolean(plane));
      if (!plane || !this.texts.heat) {
        this.usePlane(this.about.planes[0].name);
        return;
      }
      const [strongest] = [...marks].sort((a, b) => Math.abs(b.strength) - Math.abs(a.strength));
      const [first, last] = strongest.frames;
      this.usePlane(plane, Math.floor((first + last) / 2));
    }

    // What spoke for and against on the frame that is shown.
    marks(plane = this.plane, index = this.index) {
      if (!this.part("heat").checked) return [];
      return (this.about.heat[plane.name] || []).filter(({ frames }) => frames[0] <= index && index <= frames[1]);
    }

    choices() {
      const { about } = this;
      const planes = about.planes.filter((plane) => plane.name !== "strip").map((plane) => [plane.name, plane.label]);
      if (about.more) REFORMATTED.forEach((name) => planes.push([name, this.texts[name]]));
      this.part("plane").replaceChildren(...planes.map(([name, label]) => new Option(label, name)));
      this.show("plane", planes.length > 1);
      this.show("window", Boolean(about.range));
      this.part("rate").value = clamp(Math.round(about.rate || 10), 1, 60);
      const dragging = this.part("tool");
      if (!about.range) dragging.querySelector("[value=window]").remove();
      if (!about.more && about.planes.every((plane) => plane.count < 2)) dragging.querySelector("[value=scroll]").remove();
      if (!about.range) dragging.value = "pan";
      if (!about.range) return;
      const own = new Option(this.texts.own, "");
      this.part("preset").replaceChildren(...about.presets.map((preset, place) => new Option(preset.label, String(place))), own);
      this.usePreset(0);
    }

    show(name, whether) {
      this.root.querySelectorAll(`[data-part="${name}"]`).forEach((part) => { part.hidden = !whether; });
    }

    async usePlane(name, index) {
      if (!this.about.planes.some((plane) => plane.name === name)) {
        this.status(this.texts.loading);
        try {
          this.about = { ...this.about, ...(await this.frames.about(true)) };
        } catch (error) {
          this.fail(error);
          return;
        }
      }
      const chosen = this.about.planes.find((plane) => plane.name === name);
      if (!chosen) {
        this.part("plane").value = this.plane.name;
        return;
      }
      this.plane = chosen;
      this.part("plane").value = name;
      this.show("index", this.plane.count > 1);
      this.part("index").max = this.plane.count - 1;
      this.index = index === undefined ? this.plane.start : clamp(index, 0, this.plane.count - 1);
      this.shown = null;
      this.reset();
      await this.load();
    }

    usePreset(place) {
      const { center, width } = this.about.presets[place];
      this.setWindow(center, width, String(place));
    }

    setWindow(center, width, preset = "") {
      const [low, high] = this.about.range;
      const least = Math.max((high - low) / 65536, 1e-9);
      this.view.window = { center, width: Math.max(width, this.about.exact ? least : 1) };
      const span = Math.max(high - low, 2 * width, least);
      const set = (name, from, to, value) => {
        const field = this.part(name);
        Object.assign(field, { min: Math.min(from, value), max: Math.max(to, value), value });
        field.setAttribute("aria-valuetext", said(value));
      };
      set("center", Math.min(low, center), Math.max(high, center), center);
      set("width", least, span, this.view.window.width);
      this.part("preset").value = preset;
      this.draw();
    }

    // Places to fetch after this one, nearest first.
    near() {
      const places = [];
      for (let step = 1; step <= (this.playing ? PLAYING : AHEAD); step += 1) {
        const place = this.index + this.way * step;
        if (this.playing) places.push((place + this.plane.count) % this.plane.count);
        else if (place >= 0 && place < this.plane.count) places.push(place);
      }
      return places.filter((place) => place !== this.index);
    }

    go(index) {
      const next = clamp(index, 0, this.plane.count - 1);
      if (next === this.index) return;
      this.way = next > this.index ? 1 : -1;
      this.index = next;
      this.load();
    }

    async load() {
      const { plane, index } = this;
      const near = this.near();
      this.part("index").value = index;
      this.canvas.setAttribute("aria-busy", "true");
      try {
        const frame = await this.frames.get(plane.name, index, near);
        if (plane !== this.plane || index !== this.index) return;
        this.shown = frame;
        this.problem("");
      } catch (error) {
        if (error.name === "AbortError") return;
        if (plane === this.plane && index === this.index) {
          this.shown = null; // never another frame than the one that is named
          this.fail(error);
        }
        return;
      }
      this.canvas.removeAttribute("aria-busy");
      this.draw();
      this.frames.ahead(plane.name, near);
    }

    draw() {
      if (this.drawing) return;
      this.drawing = true;
      requestAnimationFrame(() => {
        this.drawing = false;
        if (!this.plane) return;
        this.painter.paint(this.shown, this.view, this.plane, this.about, this.marks());
        if (this.shown) this.tell();
        if (this.beside) this.beside.draw();
      });
    }

    tell() {
      const { plane, texts, view } = this;
      const parts = [];
      if (plane.count > 1) parts.push(filled(texts.plane, { plane: plane.label, index: this.index + 1, count: plane.count }));
      if (this.about.range) parts.push(filled(texts.window, { width: said(view.window.width), center: said(view.window.center) }));
      parts.push(filled(texts.zoom, { zoom: said(view.zoom) }));
      if (plane.marks) parts.push(filled(texts.marks, { left: plane.marks[0], top: plane.marks[2] }));
      else if (this.about.range) parts.push(texts.unmarked);
      this.status(parts.join(" · "));
      Object.assign(this.canvas.dataset, { index: this.index, plane: plane.name });
    }

    status(text) { this.root.querySelector(".viewer-status").textContent = text; }

    problem(text) {
      const place = this.root.querySelector(".viewer-problem");
      place.textContent = text;
      place.hidden = !text;
    }

    fail(error) {
      this.stop();
      this.canvas.removeAttribute("aria-busy");
      this.status("");
      this.problem(error instanceof window.AIMass.Problem ? error.message : this.texts.lost);
      this.draw();
    }

    zoomBy(factor, x = 0, y = 0) {
      const { view } = this;
      const zoom = clamp(view.zoom * factor, 0.25, MOST_ZOOM);
      const real = zoom / view.zoom; // the point under the pointer stays where it is
      view.x = x - (x - view.x) * real;
      view.y = y - (y - view.y) * real;
      view.zoom = zoom;
      this.draw();
    }

    panBy(x, y) {
      this.view.x += x;
      this.view.y += y;
      this.draw();
    }

    reset() {
      Object.assign(this.view, { zoom: 1, x: 0, y: 0 });
      this.draw();
    }

    stop() {
      this.playing = false;
      this.part("play").textContent = this.texts.play;
      this.root.querySelector(".viewer-status").removeAttribute("aria-live");
    }

    // A frame is shown at its time or when it has come, whichever is later: none is left out.
    async play() {
      if (this.playing) {
        this.stop();
        return;
      }
      this.playing = true;
      this.way = 1;
      this.part("play").textContent = this.texts.pause;
      this.root.querySelector(".viewer-status").setAttribute("aria-live", "off"); // nobody listens to sixty numbers a second
      while (this.playing && this.root.isConnected) {
        const pause = new Promise((done) => { setTimeout(done, 1000 / clamp(Number(this.part("rate").value) || 10, 1, 60)); });
        this.index = (this.index + 1) % this.plane.count;
        await Promise.all([this.load(), pause]);
      }
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("[data-viewer], [data-signal]").forEach((root) => {
      const line = root.parentElement.querySelector(".viewer-open");
      line.hidden = false;
      line.querySelector("[data-open]").addEventListener("click", () => {
        line.hidden = true;
        root.hidden = false;
        // The still picture, and what its caption says of it alone.
        root.parentElement.querySelectorAll("[data-still]").forEach((part) => { part.hidden = true; });
        new (root.dataset.signal ? window.AIMass.Traces : Viewer)(root).open();
        root.querySelector("canvas").focus();
      });
    });
  });
})();
