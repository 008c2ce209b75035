// Numbers on axes and in words.

const SVG = "http://www.w3.org/2000/svg";

function svg(tag, attributes, parent, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  if (parent) parent.append(node);
  return node;
}

function html(tag, attributes, parent, text) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  if (parent) parent.append(node);
  return node;
}

// Lists about `count` multiples of 1, 2 or 5 times a power of ten from low to high.
function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((each) => each * power >= rough * 0.999) * power;
  const found = [];
  for (let index = Math.ceil(low / step - 1e-9); index * step <= high + step * 1e-9; index++) {
    found.push(index * step);
  }
  return found;
}

// Lists powers of ten between two positive numbers, and parts of them where they are few.
function logTicks(low, high, count) {
  const from = Math.floor(Math.log10(low));
  const to = Math.ceil(Math.log10(high));
  const inside = (every, parts) => {
    const found = [];
    for (let power = from; power <= to; power += every) {
      for (const part of parts) found.push(part * 10 ** power);
    }
    return found.filter((value) => value >= low * 0.999 && value <= high * 1.001);
  };
  for (let every = Math.max(1, Math.ceil((to - from) / count)); every > 1; every--) {
    if (inside(every, [1]).length >= 3) return inside(every, [1]);
  }
  for (const parts of [[1], [1, 3], [1, 2, 5]]) {
    if (inside(1, parts).length >= 3) return inside(1, parts);
  }
  return ticks(low, high, count).filter((value) => value > 0);
}

// Writes a number to at most so many significant digits, as 12,000 or 0.0123 or 3.2e-7.
function words(value, digits = 5) {
  if (value === null || value === undefined) return "not finite";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) {
    return value.toExponential(Math.min(2, digits - 1)).replace(/\.?0+e/, "e").replace("e+", "e");
  }
  return value.toLocaleString("en", { maximumSignificantDigits: Math.max(digits, 1) });
}

// Writes labels with as many digits as they need to differ from one another.
function labels(values, isLog) {
  if (isLog || values.length < 2) return values.map((value) => words(value, 3));
  const step = values[1] - values[0];
  const most = Math.max(...values.map(Math.abs));
  if (most < 1e-4) return values.map((value) => words(value, 2));
  const digits = Math.ceil(Math.log10(most / step)) + 1;
  return values.map((value) => {
    if (most >= 10000 && Number.isInteger(value / 100)) {
      const [unit, letter] = most >= 1e6 ? [1e6, "M"] : [1e3, "k"];
      return value === 0 ? "0" : words(value / unit, 6) + letter;
    }
    return words(Math.abs(value) < step * 1e-6 ? 0 : value, Math.max(digits, 1));
  });
}
