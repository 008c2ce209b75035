// Mouse, finger and keyboard on a chart.

function listen(chart) {
  const { svg: area, group, steps } = chart;
  const at = (event) => event.clientX - area.getBoundingClientRect().left;
  const inside = (x) => Math.max(chart.left, Math.min(x, chart.right));
  const point = (event) => {
    group.point(chart, steps[chart.nearest(chart.stepAt(inside(at(event))))]);
  };
  if (!steps.length) return;
  let start = null;
  area.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    // A finger scrolls the page and reads values; it zooms with the buttons.
    if (event.pointerType === "mouse") {
      start = inside(at(event));
      area.setPointerCapture(event.pointerId);
    }
    point(event);
  });
  area.addEventListener("pointermove", (event) => {
    const x = inside(at(event));
    if (start !== null) {
      chart.selection.setAttribute("x", Math.min(start, x));
      chart.selection.setAttribute("width", Math.abs(x - start));
    }
    point(event);
  });
  area.addEventListener("pointerup", (event) => {
    if (start === null) return;
    const ends = [start, inside(at(event))].sort((a, b) => a - b);
    start = null;
    chart.selection.setAttribute("width", 0);
    if (ends[1] - ends[0] > 6) group.zoom(...ends.map(chart.stepAt));
  });
  area.addEventListener("pointercancel", () => {
    start = null;
    chart.selection.setAttribute("width", 0);
  });
  area.addEventListener("pointerleave", (event) => {
    // A lifted finger leaves the chart too, and what it read should stay.
    if (start === null && event.pointerType === "mouse") group.point(null, null);
  });
  area.addEventListener("blur", () => group.point(null, null));
  area.addEventListener("dblclick", () => group.reset());
  area.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (move) moveCursor(chart, move);
    else if (event.key === "+" || event.key === "=") group.scale(0.5);
    else if (event.key === "-") group.scale(2);
    else if (event.key === "Escape" || event.key === "0") group.reset();
    else return;
    event.preventDefault();
  });
}

// Moves the cursor to the next step or the one before, or else to the first or last in sight.
function moveCursor(chart, move) {
  const group = chart.group;
  const [from, to] = group.range;
  const steps = chart.steps.filter((step) => step >= from && step <= to);
  if (!steps.length) return;
  const now = group.cursor.step;
  const begin = move > 0 ? -1 : steps.length;
  const index = (now === null ? begin : chart.nearest(now, steps)) + move;
  group.point(chart, steps[Math.max(0, Math.min(steps.length - 1, index))]);
}
