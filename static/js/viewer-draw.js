// A frame on a canvas: window and level, zoom and pan, the patient's sides at the edges and a scale in millimetres.
window.AIMass = window.AIMass || {};
(() => {
  const INK = "#f2f5f6";
  const [WARM, COLD] = ["rgb(214, 69, 0)", "rgb(0, 92, 214)"]; // as in datasets/cells/pictures.py
  const LENGTHS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500]; // millimetres of a scale

  // Values between the window's ends become grey; DICOM's own formula (PS3.3 C.11.2.1.2) where the window is DICOM's.
  const bounds = (window, exact) => {
    if (exact) return [window.center - window.width / 2, window.center + window.width / 2];
    const half = Math.max(window.width - 1, 0) / 2;
    return [window.center - 0.5 - half, window.center - 0.5 + half];
  };

  const shades = (frame, window, about) => {
    const [low, high] = bounds(window, about.exact);
    const table = new Uint8Array(65536);
    for (let step = 0; step < 65536; step += 1) {
      const value = frame.intercept + step * frame.slope;
      const share = high > low ? (value - low) / (high - low) : Number(value > low);
      const grey = Math.round(255 * Math.min(1, Math.max(0, share)));
      table[step] = about.inverse ? 255 - grey : grey;
    }
    return table;
  };

  class Painter {
    constructor(canvas) {
      this.canvas = canvas;
      this.context = canvas.getContext("2d");
      this.picture = document.createElement("canvas");
      this.made = ""; // what `picture` shows
    }

    // The frame in its own pixels, made anew only when frame or window change.
    render(frame, view, about) {
      const key = frame.bitmap ? null : `${frame.slope} ${frame.intercept} ${view.window.center} ${view.window.width}`;
      if (frame === this.frame && key === this.made) return;
      this.picture.width = frame.width;
      this.picture.height = frame.height;
      const context = this.picture.getContext("2d");
      if (frame.bitmap) {
        context.drawImage(frame.bitmap, 0, 0);
      } else {
        const table = shades(frame, view.window, about);
        const image = context.createImageData(frame.width, frame.height);
        const words = new Uint32Array(image.data.buffer);
        for (let place = 0; place < words.length; place += 1) {
          const grey = table[frame.grey[place]];
          words[place] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
        }
        context.putImageData(image, 0, 0);
      }
      this.frame = frame;
      this.made = key;
    }

    // Pixels of the canvas for one pixel of the frame across, and down, at this zoom.
    scale(frame, plane, zoom) {
      const fit = Math.min(this.canvas.width / frame.width, this.canvas.height / (frame.height * plane.aspect));
      return [fit * zoom, fit * zoom * plane.aspect];
    }

    fitCanvas() {
      const ratio = window.devicePixelRatio || 1;
      const width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
      const height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
      if (this.canvas.width !== width) this.canvas.width = width;
      if (this.canvas.height !== height) this.canvas.height = height;
      return ratio;
    }

    // `marks`: parts of the frame that spoke for (warm) or against (cold): see inference/marks.py.
    paint(frame, view, plane, about, marks = []) {
      const ratio = this.fitCanvas();
      const { canvas, context } = this;
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.fillStyle = "#000";
      context.fillRect(0, 0, canvas.width, canvas.height);
      if (!frame) return;
      this.render(frame, view, about);
      const [across, down] = this.scale(frame, plane, view.zoom);
      const width = frame.width * across;
      const height = frame.height * down;
      context.imageSmoothingEnabled = across < 4; // close up, pixels are shown as what they are
      context.imageSmoothingQuality = "high";
      context.drawImage(
        this.picture, (canvas.width - width) / 2 + view.x * ratio, (canvas.height - height) / 2 + view.y * ratio, width, height,
      );
      const corner = [(canvas.width - width) / 2 + view.x * ratio, (canvas.height - height) / 2 + view.y * ratio];
      marks.forEach(({ box, strength }) => {
        const [top, bottom, left, right] = box;
        context.fillStyle = strength > 0 ? WARM : COLD;
        context.globalAlpha = 0.55 * Math.abs(strength);
        context.fillRect(corner[0] + left * width, corner[1] + top * height, (right - left) * width, (bottom - top) * height);
      });
      context.globalAlpha = 1;
      this.legend(plane, across * (frame.width / plane.width), ratio);
    }

    legend(plane, across, ratio) {
      const { canvas, context } = this;
      const size = 15 * ratio;
      context.font = `600 ${size}px system-ui, sans-serif`;
      context.lineWidth = 3 * ratio;
      context.strokeStyle = "#000";
      context.fillStyle = INK;
      context.textBaseline = "middle";
      const write = (text, x, y, align) => {
        context.textAlign = align;
        context.strokeText(text, x, y);
        context.fillText(text, x, y);
      };
      const pad = 8 * ratio;
      if (plane.marks) {
        const [left, right, top, bottom] = plane.marks;
        write(left, pad, canvas.height / 2, "left");
        write(right, canvas.width - pad, canvas.height / 2, "right");
        write(top, canvas.width / 2, pad + size / 2, "center");
        write(bottom, canvas.width / 2, canvas.height - pad - size / 2, "center");
      }
      if (!plane.spacing) return;
      const millimetre = across / plane.spacing[0]; // pixels of the canvas
      const length = LENGTHS.filter((long) => long * millimetre < canvas.width / 4).pop();
      if (!length) return;
      const [x, y, wide] = [pad, canvas.height - pad, length * millimetre];
      context.fillStyle = "#000";
      context.fillRect(x - ratio, y - 4 * ratio, wide + 2 * ratio, 5 * ratio);
      context.fillStyle = INK;
      context.fillRect(x, y - 3 * ratio, wide, 3 * ratio);
      write(`${length} mm`, x, y - 6 * ratio - size / 2, "left");
    }
  }

  Object.assign(window.AIMass, { Painter });
})();
