// What hands do to a viewer: mouse, wheel, fingers, keys and the fields below the picture.
window.AIMass = window.AIMass || {};
(() => {
  const LEVEL = 1 / 400; // share of the values' range for one pixel of dragging
  const SCROLL = 8; // pixels of dragging for one frame

  // One key, what it does. Capitals as well.
  const keys = (viewer) => {
    const nudge = (center, width) => {
      if (!viewer.about.range) return;
      const { window } = viewer.view;
      viewer.setWindow(window.center + center * window.width * 0.05, window.width * (1 + width * 0.1));
    };
    return {
      ArrowUp: () => viewer.go(viewer.index - 1),
      ArrowDown: () => viewer.go(viewer.index + 1),
      PageUp: () => viewer.go(viewer.index - 10),
      PageDown: () => viewer.go(viewer.index + 10),
      Home: () => viewer.go(0),
      End: () => viewer.go(viewer.plane.count - 1),
      "+": () => viewer.zoomBy(1.25),
      "=": () => viewer.zoomBy(1.25),
      "-": () => viewer.zoomBy(0.8),
      0: () => viewer.reset(),
      " ": () => { if (viewer.plane.count > 1) viewer.play(); },
      w: () => nudge(1, 0),
      s: () => nudge(-1, 0),
      a: () => nudge(0, -1),
      d: () => nudge(0, 1),
    };
  };
  const PANS = { ArrowUp: [0, 30], ArrowDown: [0, -30], ArrowLeft: [30, 0], ArrowRight: [-30, 0] };

  const keyboard = (viewer) => {
    const known = keys(viewer);
    viewer.canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !viewer.plane) return;
      const pan = event.shiftKey && PANS[event.key];
      const act = pan ? () => viewer.panBy(...pan) : known[event.key] || known[event.key.toLowerCase()];
      if (!act) return;
      event.preventDefault();
      act();
    });
  };

  // Where the pointer is from the canvas's middle, as the view counts.
  const place = (viewer, event) => {
    const box = viewer.canvas.getBoundingClientRect();
    return [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
  };

  const wheel = (viewer) => {
    let rest = 0;
    viewer.canvas.addEventListener("wheel", (event) => {
      if (!viewer.plane) return;
      event.preventDefault();
      if (event.ctrlKey || viewer.plane.count < 2) {
        viewer.zoomBy(Math.exp(-event.deltaY / 400), ...place(viewer, event));
        return;
      }
      rest += event.deltaMode ? event.deltaY * 40 : event.deltaY;
      const steps = Math.abs(rest) >= 40 ? Math.sign(rest) * Math.max(1, Math.floor(Math.abs(rest) / 120)) : 0;
      if (!steps) return; // fine wheels and touch pads send many small turns
      rest = 0;
      viewer.go(viewer.index + steps);
    }, { passive: false });
  };

  const pointers = (viewer) => {
    const down = new Map(); // fingers or the mouse: id → [x, y]
    let rest = 0;
    const drag = (x, y) => {
      const tool = viewer.part("tool").value;
      if (tool === "pan") viewer.panBy(x, y);
      if (tool === "window" && viewer.about.range) {
        const { window } = viewer.view;
        const span = Math.max(window.width, (viewer.about.range[1] - viewer.about.range[0]) / 20);
        viewer.setWindow(window.center + y * span * LEVEL, window.width + x * span * LEVEL);
      }
      if (tool === "scroll") {
        rest += y;
        const steps = Math.trunc(rest / SCROLL);
        rest -= steps * SCROLL;
        if (steps) viewer.go(viewer.index + steps);
      }
    };
    const pinch = (event) => {
      const [first, second] = [...down.values()];
      const before = Math.hypot(first[0] - second[0], first[1] - second[1]);
      const middle = [(first[0] + second[0]) / 2, (first[1] + second[1]) / 2];
      down.set(event.pointerId, place(viewer, event));
      const [one, other] = [...down.values()];
      const after = Math.hypot(one[0] - other[0], one[1] - other[1]);
      const now = [(one[0] + other[0]) / 2, (one[1] + other[1]) / 2];
      viewer.panBy(now[0] - middle[0], now[1] - middle[1]);
      if (before > 0) viewer.zoomBy(after / before, ...now);
    };
    viewer.canvas.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "mouse" && event.button !== 0) return;
      viewer.canvas.setPointerCapture(event.pointerId);
      down.set(event.pointerId, place(viewer, event));
    });
    viewer.canvas.addEventListener("pointermove", (event) => {
      if (!down.has(event.pointerId) || !viewer.plane) return;
      if (down.size === 2) {
        pinch(event);
        return;
      }
      const [x, y] = place(viewer, event);
      const [oldX, oldY] = down.get(event.pointerId);
      down.set(event.pointerId, [x, y]);
      drag(x - oldX, y - oldY);
    });
    ["pointerup", "pointercancel"].forEach((name) => {
      viewer.canvas.addEventListener(name, (event) => down.delete(event.pointerId));
    });
  };

  const fields = (viewer) => {
    const on = (name, kind, act) => viewer.part(name).addEventListener(kind, (event) => act(event.target.value));
    on("plane", "change", (name) => { viewer.stop(); viewer.usePlane(name); });
    on("index", "input", (value) => { viewer.stop(); viewer.go(Number(value)); });
    on("preset", "change", (value) => { if (value !== "") viewer.usePreset(Number(value)); });
    on("center", "input", (value) => viewer.setWindow(Number(value), viewer.view.window.width));
    on("width", "input", (value) => viewer.setWindow(viewer.view.window.center, Number(value)));
    viewer.part("beside").addEventListener("change", (event) => viewer.beside.use(event.target.checked));
    on("heat", "change", () => viewer.draw());
    on("play", "click", () => viewer.play());
    on("in", "click", () => viewer.zoomBy(1.25));
    on("out", "click", () => viewer.zoomBy(0.8));
    on("reset", "click", () => { viewer.reset(); if (viewer.about.range) viewer.usePreset(0); });
    new ResizeObserver(() => viewer.draw()).observe(viewer.canvas);
  };

  window.AIMass.controls = (viewer) => [keyboard, wheel, pointers, fields].forEach((part) => part(viewer));
})();
