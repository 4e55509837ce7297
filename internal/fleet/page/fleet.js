(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const size = 6;

  // Images × controls.
  const grid = document.getElementById("grid");
  const canvas = document.getElementById("cells");
  const said = document.getElementById("cell");
  let shownImages = data.images;

  function draw() {
    const style = getComputedStyle(document.documentElement);
    const colours = { "-": style.getPropertyValue("--surface") };
    for (const letter in data.classes) colours[letter] = style.getPropertyValue(`--${data.classes[letter]}`);
    canvas.width = Math.max(1, data.controls.length * size);
    canvas.height = Math.max(1, shownImages.length * size);
    const pen = canvas.getContext("2d");
    // What holds is drawn faint, so that the rest is seen.
    const faint = { p: .25, n: .15, d: .35, m: .35 };
    shownImages.forEach((image, y) => {
      const verdicts = image[2];
      for (let x = 0; x < verdicts.length;) {
        let end = x + 1;
        while (end < verdicts.length && verdicts[end] === verdicts[x]) end++;
        pen.globalAlpha = faint[verdicts[x]] || 1;
        pen.fillStyle = colours[verdicts[x]];
        pen.fillRect(x * size, y * size, (end - x) * size, size - 1);
        x = end;
      }
    });
  }

  canvas.addEventListener("mousemove", (event) => {
    const x = Math.floor(event.offsetX / size);
    const image = shownImages[Math.floor(event.offsetY / size)];
    if (!image || x >= data.controls.length) return;
    said.textContent = `${data.controls[x]}: ${data.labels[image[2][x]] || "not judged"} in ${image[1]} (${image[0]})`;
  });

  // The list of images.
  const form = document.querySelector("form.search");
  const search = document.getElementById("q");
  const shown = document.getElementById("shown");
  const bad = data.images.map((image) => data.controls.filter((_, x) => image[2][x] === "f" || image[2][x] === "e"));
  const items = [...document.querySelectorAll(".images > li")].map((element, n) => ({
    element, image: data.images[n], text: `${element.textContent} ${bad[n].join(" ")}`.toLowerCase(),
  }));

  // Which controls fail is written when an image is unfolded.
  items.forEach(({ element }, n) => {
    element.firstElementChild.addEventListener("toggle", (event) => {
      if (!event.target.open || element.querySelector("ul") || bad[n].length === 0) return;
      const list = document.createElement("ul");
      for (const control of bad[n]) list.append(Object.assign(document.createElement("li"), { textContent: control }));
      event.target.append(list);
    });
  });

  function apply() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fit = items.filter((item) => {
      const visible = words.every((word) => item.text.includes(word));
      item.element.hidden = !visible;
      return visible;
    });
    shown.textContent = `${fit.length} of ${items.length} images`;
    shownImages = fit.map((item) => item.image);
    draw();
  }

  search.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  form.hidden = false;
  grid.hidden = data.images.length === 0;
  apply();
})();
