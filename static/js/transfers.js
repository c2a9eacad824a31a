// One file on its way to the server by the tus protocol (tus-js-client): it pauses, resumes, outlives a lost network, and
// remembers its address in localStorage under a hash, so that a reload can go on. The file's name is kept on no disk here.
window.aimass = window.aimass || {};
(() => {
  const PREFIX = "aimass-transfer::";
  const WAITS = [0, 1, 2, 4, 8, 15, 30].map((seconds) => seconds * 1000); // between attempts after a lost connection
  const STALLED = 60_000; // a network can fail without a word: so long without a byte, and the piece is sent again
  const WINDOW = 8_000; // speed is what went through in the last seconds

  const cookie = (name) => document.cookie.split("; ").find((part) => part.startsWith(`${name}=`))?.slice(name.length + 1) ?? "";

  // FNV-1a, twice with different starts: names the file in localStorage without naming the patient.
  function hashed(text) {
    return [0x811c9dc5, 0x01000193].map((start) => {
      let value = start;
      for (let i = 0; i < text.length; i += 1) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193) >>> 0;
      return value.toString(16).padStart(8, "0");
    }).join("");
  }

  // The data set too: what was begun for one is never gone on with for another.
  const fingerprint = (file, dataset) => hashed([file.name, file.type, file.size, file.lastModified, dataset || ""].join("|"));

  // tus-js-client's own would store the metadata, and with it the name.
  const storage = {
    async findAllUploads() { return this.under(PREFIX); },
    async findUploadsByFingerprint(print) { return this.under(`${PREFIX}${print}::`); },
    async removeUpload(key) { localStorage.removeItem(key); },
    async addUpload(print, upload) {
      const key = `${PREFIX}${print}::${Math.round(Math.random() * 1e12)}`;
      try {
        localStorage.setItem(key, JSON.stringify({ uploadUrl: upload.uploadUrl, size: upload.size, creationTime: upload.creationTime }));
      } catch { /* full or forbidden: the upload works, only a reload begins anew */ }
      return key;
    },
    under(prefix) {
      return Object.keys(localStorage).filter((key) => key.startsWith(prefix)).flatMap((key) => {
        try { return [{ ...JSON.parse(localStorage.getItem(key)), urlStorageKey: key }]; } catch { return []; }
      });
    },
  };

  class Transfer {
    // options: endpoint, pieceBytes, dataset; changed(transfer) is called whenever there is something new to show.
    constructor(file, options, changed) {
      Object.assign(this, { file, options, changed, sent: 0, state: "waiting", text: "", upload: "", samples: [], attempt: 0 });
      this.print = fingerprint(file, options.dataset);
    }

    get isOver() { return ["arrived", "refused", "cancelled"].includes(this.state); }

    get isRunning() { return ["sending", "offline", "checking"].includes(this.state); }

    get url() { return this.tus?.url ?? null; }

    get speed() { // bytes per second, 0 while unknown
      const [first, last] = [this.samples[0], this.samples.at(-1)];
      return first && last.at > first.at ? Math.max(0, ((last.sent - first.sent) / (last.at - first.at)) * 1000) : 0;
    }

    get secondsLeft() { return this.speed ? (this.file.size - this.sent) / this.speed : NaN; }

    become(state, text = "") {
      Object.assign(this, { state, text });
      clearTimeout(this.timer);
      clearInterval(this.watch);
      if (state === "sending") this.watch = setInterval(() => this.lookWhetherStalled(), 5_000);
      this.changed(this);
    }

    async start() {
      if (!this.tus) await this.open();
      if (this.state !== "waiting") return; // cancelled meanwhile
      this.resume();
    }

    async open() {
      const metadata = { filename: this.file.name };
      if (this.options.dataset) metadata.dataset = this.options.dataset;
      const upload = new window.tus.Upload(this.file, {
        endpoint: this.options.endpoint, chunkSize: this.options.pieceBytes, metadata, retryDelays: null, urlStorage: storage,
        fingerprint: async () => this.print, removeFingerprintOnSuccess: true,
        onBeforeRequest: (request) => { this.status = 0; request.setHeader("X-CSRFToken", cookie("csrftoken")); },
        onAfterResponse: (request, response) => {
          this.status = response.getStatus();
          // Without this tus-js-client would take "signed out" for "unknown" and begin the whole file anew.
          if (request.getMethod() === "HEAD" && [401, 403, 429].includes(this.status)) throw new Error(`status ${this.status}`);
        },
        onProgress: (sent) => this.progressed(sent),
        onChunkComplete: () => { this.attempt = 0; },
        onError: (error) => this.failed(error),
        onSuccess: () => this.look(),
      });
      const [previous] = await upload.findPreviousUploads();
      if (previous) upload.resumeFromPreviousUpload(previous);
      this.tus = upload;
    }

    resume() {
      this.samples = [];
      this.lastByte = Date.now();
      this.become("sending");
      this.tus.start();
    }

    pause() {
      this.tus?.abort();
      this.become("paused");
    }

    progressed(sent) {
      const now = Date.now();
      if (this.state !== "sending") return;
      if (sent < this.sent) this.samples = [];
      this.sent = sent;
      this.lastByte = now;
      this.samples = [...this.samples.filter((sample) => now - sample.at < WINDOW), { at: now, sent }];
      if (!this.shown || now - this.shown > 200 || sent === this.file.size) {
        this.shown = now;
        this.changed(this);
      }
    }

    lookWhetherStalled() {
      if (this.sent === this.file.size || Date.now() - this.lastByte < STALLED) return;
      this.tus.abort();
      this.again();
    }

    failed(error) {
      const status = error.originalResponse?.getStatus() ?? this.status;
      if (!status || [409, 423, 429, 460].includes(status) || (status >= 500 && status !== 507)) {
        this.again();
        return;
      }
      let detail = "";
      try { detail = JSON.parse(error.originalResponse.getBody()).detail; } catch { /* not a problem of ours */ }
      if (status === 401) this.become("paused", "signedOut");
      else if ([403, 507].includes(status)) this.become("paused", detail);
      else this.end("refused", detail);
    }

    // After a lost connection: at once when the network says that it is back, else after a while.
    again() {
      const wait = WAITS[Math.min(this.attempt, WAITS.length - 1)];
      this.attempt += 1;
      this.become("offline");
      this.timer = setTimeout(() => this.resume(), wait);
    }

    backOnline() {
      if (this.state === "offline") this.resume();
    }

    // All bytes are there: what became of them?
    async look() {
      this.become("checking");
      try {
        const answer = await fetch(this.url, { headers: { Accept: "application/json" } });
        if (!answer.ok) throw new Error(answer.status);
        const seen = await answer.json();
        if (seen.state === "finished") {
          this.upload = seen.upload ?? "";
          this.end("arrived");
          return;
        }
        if (seen.state === "refused") {
          this.end("refused", seen.reason);
          return;
        }
      } catch { /* asked again */ }
      this.timer = setTimeout(() => this.look(), 1_000);
    }

    async cancel() {
      const url = this.url;
      this.tus?.abort();
      this.end("cancelled");
      for (let attempt = 0; url && attempt < 20; attempt += 1) {
        try {
          const headers = { "Tus-Resumable": "1.0.0", "X-CSRFToken": cookie("csrftoken") };
          const answer = await fetch(url, { method: "DELETE", headers });
          if (answer.status !== 423) break; // the piece that was cut off still has the file
        } catch { /* no network: asked again; else the server removes it when it expires */ }
        await new Promise((resolve) => { setTimeout(resolve, 500); });
      }
    }

    end(state, text = "") {
      storage.under(`${PREFIX}${this.print}::`).forEach((entry) => localStorage.removeItem(entry.urlStorageKey));
      this.become(state, text);
    }
  }

  window.aimass.Transfer = Transfer;
})();
