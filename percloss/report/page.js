"use strict";
(() => {
  // Time constant of the fade between versions, short enough to seem immediate and too long to click [s].
  const FADE = 0.004;
  const players = [];
  let active = null;

  const bytes = (uri) => Uint8Array.from(atob(uri.slice(uri.indexOf(",") + 1)), (char) => char.charCodeAt(0)).buffer;

  class Player {
    constructor(section) {
      this.section = section;
      this.seconds = Number(section.dataset.seconds);
      this.rate = Number(section.dataset.rate);
      // Where in the recording the excerpt begins [s].
      this.first = Number(section.dataset.start);
      this.button = section.querySelector(".play");
      this.slider = section.querySelector(".seek");
      this.clock = section.querySelector(".clock");
      this.status = section.querySelector(".status");
      this.choices = [...section.querySelectorAll("[data-choose]")];
      this.chosen = 0;
      this.other = this.choices.length > 1 ? 1 : 0;
      this.offset = 0;
      this.playing = false;
      this.voices = [];
      this.button.addEventListener("click", () => this.toggle());
      this.slider.addEventListener("input", () => this.seek(Number(this.slider.value)));
      this.choices.forEach((choice, index) => choice.addEventListener("click", () => this.hear(index)));
      section.querySelectorAll(".spectrogram").forEach((picture) => picture.addEventListener("click", (event) => {
        const box = picture.querySelector("image").getBoundingClientRect();
        this.seek(Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) * this.seconds);
        this.hear(Number(picture.closest("[data-of]").dataset.of));
      }));
      section.querySelectorAll(".go").forEach((button) => button.addEventListener("click", () => {
        this.seek(Number(button.dataset.go));
        this.hear(Number(button.closest("[data-of]").dataset.of));
      }));
      section.querySelector(".player").addEventListener("pointerdown", () => { active = this; });
      section.querySelector(".player").addEventListener("focusin", () => { active = this; });
    }

    // The context is made in the gesture that asks for sound: before one, browsers keep it silent.
    load() {
      this.loading ??= (async () => {
        this.context = new AudioContext({ sampleRate: this.rate });
        const files = [...this.section.querySelectorAll("audio")];
        this.buffers = await Promise.all(files.map((file) => this.context.decodeAudioData(bytes(file.src))));
      })();
      return this.loading;
    }

    now() {
      if (!this.playing || !this.voices.length) return this.offset;
      return Math.max(0, this.context.currentTime - this.origin) % this.seconds;
    }

    async play() {
      if (this.playing) return;
      for (const player of players) if (player !== this) player.pause();
      active = this;
      this.playing = true;
      this.say();
      try {
        await this.load();
        await this.context.resume();
      } catch (problem) {
        this.playing = false;
        this.section.querySelector(".players").open = true;
        this.say(`This browser cannot play in step (${problem.message}); the plain players below may.`);
        return;
      }
      if (this.playing && !this.voices.length) this.start();
    }

    start() {
      const when = this.context.currentTime + 0.02;
      this.voices = this.buffers.map((buffer, index) => {
        const source = new AudioBufferSourceNode(this.context, { buffer, loop: true, loopEnd: this.seconds });
        const gain = new GainNode(this.context, { gain: index === this.chosen ? 1 : 0 });
        source.connect(gain).connect(this.context.destination);
        source.start(when, this.offset % this.seconds);
        return { source, gain };
      });
      this.origin = when - this.offset;
      this.draw();
    }

    silence() {
      for (const { source, gain } of this.voices) {
        gain.gain.setTargetAtTime(0, this.context.currentTime, FADE);
        source.stop(this.context.currentTime + 10 * FADE);
      }
      this.voices = [];
    }

    pause() {
      if (!this.playing) return;
      this.offset = this.now();
      this.playing = false;
      this.silence();
      this.say();
      this.show();
    }

    toggle() {
      if (this.playing) this.pause();
      else this.play();
    }

    // By a second, or a tenth of what is short, or with Shift by a tenth of that.
    move(direction, little) {
      const step = Math.min(1, this.seconds / 10) * (little ? 0.1 : 1);
      this.seek(Math.min(this.seconds - 0.01, Math.max(0, this.now() + direction * step)));
    }

    seek(offset) {
      this.offset = offset;
      if (this.voices.length) {
        this.silence();
        this.start();
      }
      this.show();
    }

    hear(index) {
      this.choose(index);
      this.play();
    }

    choose(index) {
      if (index >= this.choices.length) return;
      if (index !== 0) this.other = index;
      this.chosen = index;
      this.choices.forEach((choice, each) => choice.setAttribute("aria-pressed", String(each === index)));
      this.section.querySelectorAll("[data-of]").forEach((part) => {
        part.classList.toggle("on", Number(part.dataset.of) === index);
      });
      this.voices.forEach(({ gain }, each) => {
        gain.gain.setTargetAtTime(each === index ? 1 : 0, this.context.currentTime, FADE);
      });
      this.say();
    }

    say(problem) {
      const title = this.choices[this.chosen].querySelector("strong").textContent;
      this.button.textContent = this.playing ? "Pause" : "Play";
      this.status.textContent = problem ?? `${this.playing ? "Playing" : "Paused"}: ${title}`;
    }

    show() {
      const at = this.now();
      this.section.style.setProperty("--at", at / this.seconds);
      this.slider.value = at;
      const [now, end] = [this.first + at, this.first + this.seconds].map((seconds) => seconds.toFixed(1));
      this.slider.setAttribute("aria-valuetext", `${now} of ${end} seconds`);
      this.clock.textContent = `${now} / ${end} s`;
    }

    draw() {
      cancelAnimationFrame(this.frame);
      const step = () => {
        if (!this.playing) return;
        this.show();
        this.frame = requestAnimationFrame(step);
      };
      step();
    }
  }

  for (const section of document.querySelectorAll("main > section.item")) players.push(new Player(section));

  document.addEventListener("keydown", (event) => {
    if (!active || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key >= "0" && event.key <= "9") {
      if (Number(event.key) < active.choices.length) active.hear(Number(event.key));
    } else if (event.key === "r" || event.key === "R") {
      active.hear(active.chosen === 0 ? active.other : 0);
    } else if (event.key === " " && !event.target.closest("button, summary, audio, input")) {
      event.preventDefault();
      active.toggle();
    } else if (event.key.startsWith("Arrow") && !event.target.closest("audio, .scroll")) {
      const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!direction) return;
      event.preventDefault();
      active.move(direction, event.shiftKey);
    } else if (event.key === "Escape") {
      active.pause();
      active.seek(0);
    }
  });
})();
