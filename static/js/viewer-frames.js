// Frames of a file for the viewer: one request for each frame that is looked at, the next few ahead, and none for those left behind.
window.AIMass = window.AIMass || {};
(() => {
  const HEADER = 24; // "AMG1", width, height, slope, intercept: see datasets/viewer/looking.py
  const MOST_BYTES = 192 * 2 ** 20; // of decoded frames held by a page

  class Problem extends Error {}

  const decode = async (answer) => {
    if (answer.headers.get("Content-Type") === "image/png") {
      const bitmap = await createImageBitmap(await answer.blob());
      return { width: bitmap.width, height: bitmap.height, bitmap, bytes: bitmap.width * bitmap.height * 4 };
    }
    const content = await answer.arrayBuffer();
    const head = new DataView(content);
    if (String.fromCharCode(...new Uint8Array(content, 0, 4)) === "AMT1") { // least and greatest of columns: datasets/viewer/trace.py
      return { columns: head.getUint16(6, true), values: new Float32Array(content, 8), bytes: content.byteLength };
    }
    return {
      width: head.getUint16(4, true),
      height: head.getUint16(6, true),
      slope: head.getFloat64(8, true),
      intercept: head.getFloat64(16, true),
      grey: new Uint16Array(content, HEADER),
      bytes: content.byteLength,
    };
  };

  // The answer, asked again where the server is busy. Throws Problem with a sentence for people, or AbortError.
  const ask = async (address, signal, lost) => {
    for (let tries = 0; ; tries += 1) {
      let answer;
      try {
        answer = await fetch(address, { signal, credentials: "same-origin", headers: { Accept: "*/*" } });
      } catch (error) {
        if (error.name === "AbortError") throw error;
        throw new Problem(lost);
      }
      if (answer.ok && !answer.redirected) return answer;
      if (answer.status !== 503 || tries >= 5) {
        const told = await answer.json().catch(() => ({}));
        throw new Problem(told.error || lost);
      }
      await new Promise((done) => { setTimeout(done, 1000 * Number(answer.headers.get("Retry-After") || 3)); });
      if (signal && signal.aborted) throw new DOMException("left behind", "AbortError");
    }
  };

  class Frames {
    constructor(address, lost) {
      this.base = address.replace(/all\/$/, "");
      this.address = address;
      this.lost = lost;
      this.held = new Map(); // name → frame, the longest unused first
      this.asked = new Map(); // name → { promise, controller }
      this.bytes = 0;
    }

    async about(whole) {
      return (await ask(this.address + (whole ? "?planes=all" : ""), undefined, this.lost)).json();
    }

    // This frame; requests for frames that are not in `near` are given up.
    get(plane, index, near = []) {
      const wanted = new Set([index, ...near].map((place) => `${plane}/${place}`));
      this.asked.forEach((entry, name) => {
        if (!wanted.has(name)) {
          entry.controller.abort();
          this.asked.delete(name);
        }
      });
      return this.load(plane, index);
    }

    load(plane, index) {
      const name = `${plane}/${index}`;
      const held = this.held.get(name);
      if (held) {
        this.held.delete(name);
        this.held.set(name, held);
        return Promise.resolve(held);
      }
      if (this.asked.has(name)) return this.asked.get(name).promise;
      const controller = new AbortController();
      const promise = ask(`${this.base}${name}/`, controller.signal, this.lost).then(decode).then((frame) => {
        this.keep(name, frame);
        return frame;
      }).finally(() => {
        if (this.asked.get(name) === entry) this.asked.delete(name);
      });
      const entry = { promise, controller };
      this.asked.set(name, entry);
      return promise;
    }

    keep(name, frame) {
      this.held.set(name, frame);
      this.bytes += frame.bytes;
      for (const [old, gone] of this.held) {
        if (this.bytes <= MOST_BYTES || old === name) break;
        this.held.delete(old);
        this.bytes -= gone.bytes;
        if (gone.bitmap) gone.bitmap.close();
      }
    }

    // The neighbours, one after the other, so that the server is never asked for more than is soon looked at.
    async ahead(plane, places) {
      for (const place of places) {
        try {
          await this.load(plane, place);
        } catch {
          return; // told when it is looked at
        }
      }
    }
  }

  Object.assign(window.AIMass, { Frames, Problem });
})();
