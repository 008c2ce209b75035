// The page besides its charts: sliders over steps, enlarging, copying.

const data = JSON.parse(document.getElementById("data").textContent);
for (const box of document.querySelectorAll("[data-group]")) {
  new Group(box, data[box.dataset.group], box.dataset.group);
}

for (const viewer of document.querySelectorAll(".viewer")) {
  const slider = viewer.querySelector("input");
  const frames = [...viewer.querySelectorAll("[data-step]")];
  if (!slider) continue;
  slider.addEventListener("input", () => {
    frames.forEach((frame, index) => {
      frame.hidden = index !== Number(slider.value);
      // A sound would play on where its button cannot be seen.
      if (frame.hidden && frame.pause) frame.pause();
    });
    const step = frames[Number(slider.value)].dataset.step;
    viewer.querySelector("output").textContent = `step ${step}`;
    slider.setAttribute("aria-valuetext", `step ${step}`);
  });
}

// Lets a picture that had to be made smaller be seen as large as it is.
for (const frame of document.querySelectorAll(".frame")) {
  if (!frame.querySelector("img")) continue;
  const button = html("button", { type: "button", class: "tool" }, null, "Full size");
  button.setAttribute("aria-pressed", "false");
  frame.parentElement.querySelector("figcaption").append(button);
  button.addEventListener("click", () => {
    const large = frame.classList.toggle("large");
    button.setAttribute("aria-pressed", String(large));
  });
  const update = () => {
    const image = frame.querySelector("img:not([hidden])");
    const smaller = image.clientWidth + 1 < Number(image.getAttribute("width"));
    button.hidden = !smaller && !frame.classList.contains("large");
  };
  new ResizeObserver(update).observe(frame);
  update();
}

for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    } catch {
      getSelection().selectAllChildren(text);
    }
  });
}
