// One panel: axes, lines, and the values under the cursor.

const HEIGHT = 208;
const TOP = 10;
const BOTTOM = 26;
const RIGHT = 12;
const FEW = 40; // points of a line up to which each is marked

class Chart {
  constructor(figure, spec, group, id) {
    this.spec = spec;
    this.group = group;
    this.id = id;
    this.isLog = spec.log;
    this.plot = figure.querySelector(".plot");
    this.svg = svg("svg", { tabindex: "0", role: "img" }, this.plot);
    this.svg.setAttribute("aria-label", `${spec.title}: chart. Arrow keys read values.`);
    this.tip = html("div", { class: "tip", role: "status", hidden: "" }, this.plot);
    const values = spec.series.flatMap((line) => line.y).filter((value) => value !== null);
    if (values.length && Math.min(...values) > 0) this.addLogButton(figure);
    this.steps = [...new Set(spec.series.flatMap((line) => line.x))].sort((a, b) => a - b);
    listen(this);
  }

  addLogButton(figure) {
    const pressed = () => String(this.isLog);
    const caption = figure.querySelector("figcaption");
    const button = html("button", { type: "button", class: "tool log" }, caption, "log");
    button.setAttribute("aria-pressed", pressed());
    button.setAttribute("aria-label", `logarithmic axis of ${this.spec.title}`);
    button.addEventListener("click", () => {
      this.isLog = !this.isLog;
      button.setAttribute("aria-pressed", pressed());
      this.draw();
    });
  }

  get lines() {
    return this.spec.series.filter((line) => !this.group.hidden.has(line.name));
  }

  // Finds the ends of a line's band at a point; a logarithm has none below zero.
  band(line, index) {
    const [y, spread] = [line.y[index], (line.spread && line.spread[index]) || 0];
    return [this.isLog && y <= spread ? y : y - spread, y + spread];
  }

  // Finds the values that a vertical axis must reach for the points between two steps.
  extent([from, to]) {
    let [low, high] = [Infinity, -Infinity];
    for (const line of this.lines) {
      line.x.forEach((x, index) => {
        const y = line.y[index];
        if (y === null || x < from || x > to || (this.isLog && y <= 0)) return;
        const [least, most] = this.band(line, index);
        low = Math.min(low, y, least);
        high = Math.max(high, y, most);
      });
    }
    if (low > high) return null;
    if (this.isLog) return [low / 1.15, high * 1.15];
    // A difference in the fourth digit should not fill the panel.
    const least = 0.02 * Math.max(Math.abs(low), Math.abs(high)) || 1;
    const more = Math.max(0.06 * (high - low), (least - (high - low)) / 2);
    return [low >= 0 && low < more ? 0 : low - more, high + more];
  }

  draw() {
    const width = this.plot.clientWidth;
    if (!width) return;
    this.svg.replaceChildren();
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.svg.setAttribute("width", width);
    this.svg.setAttribute("height", HEIGHT);
    const range = this.group.range;
    const extent = this.extent(range);
    const floor = HEIGHT - BOTTOM;
    if (!extent) {
      const attributes = { x: width / 2, y: HEIGHT / 2, "text-anchor": "middle" };
      svg("text", attributes, this.svg, "nothing to show here");
    }
    const [low, high] = extent || [0, 1];
    const marks = this.isLog ? logTicks(low, high, 5) : ticks(low, high, 5);
    const texts = labels(marks, this.isLog);
    const left = 14 + 6.6 * Math.max(1, ...texts.map((text) => text.length));
    const right = width - RIGHT;
    const transform = this.isLog ? Math.log : (value) => value;
    const span = transform(high) - transform(low);
    this.x = (step) => left + ((step - range[0]) / (range[1] - range[0] || 1)) * (right - left);
    this.y = (value) => floor - ((transform(value) - transform(low)) / span) * (floor - TOP);
    this.stepAt = (x) => range[0] + ((x - left) / (right - left)) * (range[1] - range[0]);
    Object.assign(this, { left, right, floor });
    if (extent) this.drawValues(marks, texts);
    this.drawSteps(range);
    const clip = svg("clipPath", { id: `clip-${this.id}` }, this.svg);
    const area = { x: left - 4, y: 0, width: right - left + 8, height: floor + 2 };
    svg("rect", area, clip);
    const inside = svg("g", { "clip-path": `url(#clip-${this.id})` }, this.svg);
    if (extent) for (const line of this.lines) this.drawLine(line, inside);
    this.cursor = svg("g", {}, this.svg);
    const box = { x: left, y: TOP, width: 0, height: floor - TOP, class: "selection" };
    this.selection = svg("rect", box, this.svg);
    this.showCursor();
  }

  drawValues(marks, texts) {
    marks.forEach((mark, index) => {
      const y = this.y(mark);
      if (y < TOP - 1 || y > this.floor + 1) return;
      svg("line", { x1: this.left, x2: this.right, y1: y, y2: y, class: "grid" }, this.svg);
      const place = { x: this.left - 7, y: y + 3.5, "text-anchor": "end" };
      svg("text", place, this.svg, texts[index]);
    });
  }

  drawSteps(range) {
    const width = this.right - this.left;
    const steps = ticks(range[0], range[1], Math.max(2, Math.floor(width / 52)));
    const whole = steps.filter(Number.isInteger);
    const texts = labels(whole, false);
    const axis = { x1: this.left, x2: this.right, y1: this.floor, y2: this.floor, class: "axis" };
    svg("line", axis, this.svg);
    whole.forEach((step, index) => {
      const x = this.x(step);
      svg("line", { x1: x, x2: x, y1: this.floor, y2: this.floor + 4, class: "axis" }, this.svg);
      const near = x > this.right - 12 ? "end" : "middle";
      const place = { x: near === "end" ? this.right + 6 : x, y: this.floor + 17 };
      svg("text", { ...place, "text-anchor": near }, this.svg, texts[index]);
    });
  }

  drawBand(line, parent) {
    const edges = [[], []];
    line.x.forEach((x, index) => {
      if (line.y[index] === null || (this.isLog && line.y[index] <= 0)) return;
      this.band(line, index).forEach((end, side) => {
        edges[side].push(`${this.x(x).toFixed(1)} ${this.y(end).toFixed(1)}`);
      });
    });
    const points = [...edges[0], ...edges[1].reverse()];
    if (points.length) svg("path", { d: `M${points.join("L")}Z`, class: "band" }, parent);
  }

  drawLine(line, parent) {
    const group = svg("g", { class: `line ${line.colour}` }, parent);
    if (line.spread) this.drawBand(line, group);
    let path = "";
    let pen = "M";
    line.x.forEach((x, index) => {
      const y = line.y[index];
      if (y === null) {
        const [at, base] = [this.x(x), this.floor - 6];
        const cross = `M${at - 3} ${base - 3}l6 6m0 -6l-6 6`;
        svg("path", { d: cross, class: "lost" }, group);
        pen = "M";
      } else if (!this.isLog || y > 0) {
        path += `${pen}${this.x(x).toFixed(1)} ${this.y(y).toFixed(1)}`;
        pen = "L";
      }
    });
    if (path) svg("path", { d: path, class: "curve" }, group);
    const few = line.x.length <= FEW && line.colour !== "train";
    line.x.forEach((x, index) => {
      const y = line.y[index];
      const drawn = y !== null && (!this.isLog || y > 0);
      if (!drawn || !(few || line.x.length === 1)) return;
      const r = line.x.length === 1 ? 4 : 2.4;
      svg("circle", { cx: this.x(x), cy: this.y(y), r, class: "mark" }, group);
    });
  }

  // Finds the index of the step that is nearest to one.
  nearest(step, steps = this.steps) {
    let [low, high] = [0, steps.length - 1];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (steps[middle] < step) low = middle;
      else high = middle;
    }
    return Math.abs(steps[low] - step) <= Math.abs(steps[high] - step) ? low : high;
  }

  showCursor() {
    const { step, chart } = this.group.cursor;
    if (!this.cursor) return;
    this.cursor.replaceChildren();
    const [from, to] = this.group.range;
    const shown = step !== null && step >= from && step <= to && this.steps.length > 0;
    if (shown) {
      const x = this.x(step);
      svg("line", { x1: x, x2: x, y1: TOP, y2: this.floor, class: "cursor" }, this.cursor);
    }
    this.tip.hidden = !(shown && chart === this);
    this.tip.replaceChildren();
    if (shown && chart === this) html("strong", {}, this.tip, `step ${words(step, 15)}`);
    if (!shown) return;
    for (const line of this.lines) {
      if (!line.x.length) continue;
      const index = this.nearest(step, line.x);
      const [x, y] = [line.x[index], line.y[index]];
      if (y !== null && (!this.isLog || y > 0) && x >= from && x <= to && x === step) {
        const place = { cx: this.x(x), cy: this.y(y), r: 3.6, class: "mark" };
        svg("circle", place, svg("g", { class: `line ${line.colour}` }, this.cursor));
      }
      if (chart === this) this.describe(line, index, step);
    }
    if (chart === this) this.placeTip(this.x(step));
  }

  describe(line, index, step) {
    const [x, y] = [line.x[index], line.y[index]];
    const spread = line.spread && y !== null ? ` ± ${words(line.spread[index], 2)}` : "";
    const row = html("div", {}, this.tip);
    html("span", { class: `swatch ${line.colour}` }, row);
    html("span", { class: "name" }, row, line.name);
    html("b", {}, row, words(y) + spread);
    if (x !== step) html("small", {}, row, `at ${words(x, 15)}`);
  }

  placeTip(x) {
    const width = this.tip.offsetWidth;
    const room = this.plot.clientWidth;
    const beside = x + 14 + width <= room ? x + 14 : x - 14 - width;
    this.tip.style.left = `${Math.max(0, Math.min(beside, room - width))}px`;
  }
}
