// The other two planes of a volume beside the one that is looked through, with lines where they cut each other. Pressing one of them
// exchanges it with the large one; pressing with Alt in the large one moves the others there.
window.AIMass = window.AIMass || {};
(() => {
  const NAMES = ["axial", "coronal", "sagittal"];
  const LINE = "rgba(138, 184, 255, 0.8)";
  // Across and down of each plane, as the others' names; all are shown turned round (datasets/viewer/volume.py).
  const AXES = { axial: ["sagittal", "coronal"], coronal: ["sagittal", "axial"], sagittal: ["coronal", "axial"] };

  class Beside {
    constructor(viewer) {
      this.viewer = viewer;
      this.box = viewer.root.querySelector(".viewer-beside");
      this.places = {}; // plane → the frame that it is at
      this.on = false;
      this.others = [...viewer.root.querySelectorAll("[data-other]")].map((button) => {
        const other = { button, canvas: button.querySelector("canvas") };
        other.painter = new window.AIMass.Painter(other.canvas);
        button.addEventListener("click", () => viewer.usePlane(other.name, this.places[other.name]));
        return other;
      });
      viewer.canvas.addEventListener("pointerdown", (event) => {
        if (this.on && event.altKey) this.move(event);
      });
    }

    async use(on) {
      const { viewer } = this;
      if (on && !NAMES.includes(viewer.plane.name)) await viewer.usePlane(NAMES[0]);
      this.on = on && NAMES.every((name) => viewer.about.planes.some((plane) => plane.name === name));
      viewer.part("beside").checked = this.on;
      this.box.hidden = !this.on;
      viewer.root.classList.toggle("viewer-three", this.on);
      viewer.draw();
    }

    draw() {
      const { viewer } = this;
      if (!this.on || !NAMES.includes(viewer.plane.name)) {
        if (this.on) this.use(false);
        return;
      }
      this.places[viewer.plane.name] = viewer.index;
      NAMES.filter((name) => name !== viewer.plane.name).forEach((name, place) => this.one(this.others[place], name));
    }

    async one(other, name) {
      const { viewer } = this;
      const plane = viewer.about.planes.find((known) => known.name === name);
      this.places[name] = this.places[name] ?? plane.start;
      const index = this.places[name];
      other.name = name;
      other.button.querySelector("span").textContent = plane.label;
      let frame;
      try {
        frame = await viewer.frames.load(name, index);
      } catch {
        frame = null;
      }
      if (other.name !== name || this.places[name] !== index) return;
      const still = { zoom: 1, x: 0, y: 0, window: viewer.view.window };
      other.painter.paint(frame, still, plane, viewer.about, viewer.marks(plane, index));
      if (frame) this.lines(other, plane, frame);
      Object.assign(other.canvas.dataset, { plane: name, index });
    }

    lines(other, plane, frame) {
      const { canvas, context } = other.painter;
      const [across, down] = other.painter.scale(frame, plane, 1);
      const size = [frame.width * across, frame.height * down];
      const corner = [(canvas.width - size[0]) / 2, (canvas.height - size[1]) / 2];
      context.fillStyle = LINE;
      AXES[plane.name].forEach((name, axis) => {
        const cut = this.viewer.about.planes.find((known) => known.name === name);
        const share = 1 - ((this.places[name] ?? cut.start) + 0.5) / cut.count;
        if (axis) context.fillRect(corner[0], corner[1] + share * size[1], size[0], 1);
        else context.fillRect(corner[0] + share * size[0], corner[1], 1, size[1]);
      });
    }

    move(event) {
      const { viewer } = this;
      if (!viewer.shown) return;
      const { canvas } = viewer;
      const ratio = canvas.width / canvas.clientWidth;
      const box = canvas.getBoundingClientRect();
      const [across, down] = viewer.painter.scale(viewer.shown, viewer.plane, viewer.view.zoom);
      const at = [
        ((event.clientX - box.left - box.width / 2 - viewer.view.x) * ratio) / (viewer.shown.width * across) + 0.5,
        ((event.clientY - box.top - box.height / 2 - viewer.view.y) * ratio) / (viewer.shown.height * down) + 0.5,
      ];
      AXES[viewer.plane.name].forEach((name, axis) => {
        const plane = viewer.about.planes.find((known) => known.name === name);
        this.places[name] = Math.min(plane.count - 1, Math.max(0, Math.floor((1 - at[axis]) * plane.count)));
      });
      this.draw();
    }
  }

  Object.assign(window.AIMass, { Beside });
})();
