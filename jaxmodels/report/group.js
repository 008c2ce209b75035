// Charts that share their steps: one zoom, one cursor, one legend.

class Group {
  constructor(box, specs, name) {
    this.box = box;
    this.hidden = new Set();
    this.cursor = { chart: null, step: null };
    let last = 1;
    for (const spec of specs) {
      for (const line of spec.series) last = Math.max(last, line.x[line.x.length - 1] || 0);
    }
    this.full = [0, last];
    this.range = this.full;
    this.charts = [...box.querySelectorAll("[data-chart]")].map((figure) => {
      const index = Number(figure.dataset.chart);
      return new Chart(figure, specs[index], this, `${name}-${index}`);
    });
    for (const button of box.querySelectorAll("[data-zoom]")) {
      const change = { in: () => this.scale(0.5), out: () => this.scale(2) };
      const action = change[button.dataset.zoom] || (() => this.reset());
      button.addEventListener("click", action);
    }
    for (const button of box.querySelectorAll("[data-series]")) {
      button.addEventListener("click", () => this.toggle(button));
    }
    // Charts in a closed fold have no width to be drawn at.
    for (const fold of box.querySelectorAll("details")) {
      fold.addEventListener("toggle", () => this.draw());
    }
    this.draw();
    let width = box.clientWidth;
    new ResizeObserver(() => {
      if (box.clientWidth === width) return;
      width = box.clientWidth;
      this.draw();
    }).observe(box);
  }

  draw() {
    const whole = this.range[0] <= this.full[0] && this.range[1] >= this.full[1];
    for (const button of this.box.querySelectorAll("[data-zoom]")) {
      button.disabled = button.dataset.zoom !== "in" && whole;
    }
    for (const chart of this.charts) chart.draw();
  }

  zoom(from, to) {
    const [low, high] = this.full;
    // Fewer than two steps would show only a line between two points.
    const width = Math.min(Math.max(to - from, 2), high - low);
    const start = Math.max(low, Math.min((from + to - width) / 2, high - width));
    this.range = [start, start + width];
    this.draw();
  }

  // Zooms around the cursor, if there is one in sight.
  scale(factor) {
    const [from, to] = this.range;
    const step = this.cursor.step;
    const middle = step !== null && step >= from && step <= to ? step : (from + to) / 2;
    this.zoom(middle - (middle - from) * factor, middle + (to - middle) * factor);
  }

  reset() {
    this.range = this.full;
    this.draw();
  }

  point(chart, step) {
    this.cursor = { chart, step };
    for (const each of this.charts) each.showCursor();
  }

  toggle(button) {
    const name = button.dataset.series;
    const isHidden = this.hidden.delete(name);
    if (!isHidden) this.hidden.add(name);
    button.setAttribute("aria-pressed", String(isHidden));
    this.draw();
  }
}
