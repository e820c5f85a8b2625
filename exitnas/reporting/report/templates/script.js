"use strict";
// Makes the page livelier: hover on curves, a slider over the settings, toggles in the legends. All it shows of a run
// comes from the JSON in the page: runs[key].curves[policy] is a list of points, fastest first.
(() => {
  const [SCORE, LAYERS, SPEEDUP, MACS, SETTING, HISTOGRAM] = [0, 1, 2, 3, 4, 5];
  const runs = JSON.parse(document.getElementById("values").textContent);
  const tip = document.getElementById("tip");
  document.documentElement.classList.add("js");

  const pair = (text) => text.split(" ").map(Number);
  const percent = (value) => (100 * value).toFixed(1) + " %";
  const axis = (chart, point) => (chart.dataset.key === "macs" ? point[MACS] : point[LAYERS]);

  // Position of a point in the picture, by the ranges that the chart was drawn with.
  function place(chart, point) {
    const [left, top, right, bottom] = pair(chart.dataset.frame);
    const [x0, x1] = pair(chart.dataset.x);
    const [y0, y1] = pair(chart.dataset.y);
    return [
      left + ((axis(chart, point) - x0) / (x1 - x0)) * (right - left),
      bottom - ((100 * point[SCORE] - y0) / (y1 - y0)) * (bottom - top),
    ];
  }

  function put(circle, spot) {
    circle.setAttribute("cx", spot ? spot[0].toFixed(1) : -50);
    circle.setAttribute("cy", spot ? spot[1].toFixed(1) : -50);
  }

  function hover(chart) {
    const near = chart.querySelector(".near");
    const hide = () => { tip.hidden = true; put(near, null); };
    chart.addEventListener("pointerleave", hide);
    chart.addEventListener("pointermove", (event) => {
      const box = chart.getBoundingClientRect();
      const view = chart.viewBox.baseVal;
      const x = ((event.clientX - box.left) / box.width) * view.width;
      const y = ((event.clientY - box.top) / box.height) * view.height;
      let best = null;
      for (const series of chart.querySelectorAll(".series:not(.off)")) {
        const { run, policy } = series.dataset;
        for (const point of runs[run].curves[policy]) {
          const spot = place(chart, point);
          const distance = Math.hypot(spot[0] - x, spot[1] - y);
          if (!best || distance < best.distance) best = { distance, spot, run, policy, point };
        }
      }
      if (!best || best.distance > 40) { hide(); return; }
      const { point } = best;
      put(near, best.spot);
      tip.textContent =
        (Object.keys(runs).length > 1 ? runs[best.run].name + "\n" : "") + best.policy + ": " + point[SETTING] + "\n" +
        percent(point[SCORE]) + ", " + point[LAYERS].toFixed(2) + " layers (" + point[SPEEDUP].toFixed(2) + "×), " +
        point[MACS].toFixed(1) + " MMACs";
      tip.hidden = false;
      const wide = document.documentElement.clientWidth;
      tip.style.left = Math.max(4, Math.min(event.clientX + 14, wide - tip.offsetWidth - 4)) + "px";
      const below = event.clientY + 18;
      tip.style.top = (below + tip.offsetHeight > window.innerHeight ? event.clientY - tip.offsetHeight - 12 : below) + "px";
    });
  }

  function bars(picture, counts) {
    const most = Math.max(...counts, 1);
    const rects = picture.querySelectorAll(".bar");
    const texts = picture.querySelectorAll(".count");
    counts.forEach((count, index) => {
      const height = (88 * count) / most;
      rects[index].setAttribute("height", height.toFixed(1));
      rects[index].setAttribute("y", (104 - height).toFixed(1));
      texts[index].setAttribute("y", (100 - height).toFixed(1));
      texts[index].textContent = count;
    });
    const told = counts.map((count, index) => `layer ${index + 1}: ${count}`).join(", ");
    picture.setAttribute("aria-label", "Inputs that left after each layer: " + told);
  }

  function tradeoff(part) {
    const run = runs[part.dataset.run];
    const charts = part.querySelectorAll(".chart");
    const select = part.querySelector("select");
    const slider = part.querySelector("input[type=range]");
    const out = (name) => part.querySelector(`[data-out=${name}]`);
    function show() {
      const point = run.curves[select.value][Number(slider.value)];
      out("policy").textContent = select.value;
      out("setting").textContent = point[SETTING];
      out("score").textContent = percent(point[SCORE]);
      out("speedup").textContent = point[SPEEDUP].toFixed(2) + "×";
      out("layers").textContent = point[LAYERS].toFixed(2) + " of " + run.layers;
      out("macs").textContent = point[MACS].toFixed(1);
      slider.setAttribute(
        "aria-valuetext",
        point[SETTING] + ", score " + percent(point[SCORE]) + ", speed-up " + point[SPEEDUP].toFixed(2) + ", " +
        point[LAYERS].toFixed(2) + " of " + run.layers + " layers",
      );
      bars(part.querySelector(".histogram"), point[HISTOGRAM]);
      for (const chart of charts) put(chart.querySelector(".here"), place(chart, point));
    }
    select.addEventListener("change", () => {
      // The setting of the new policy that executes about as many layers as the last one shown.
      const layers = parseFloat(out("layers").textContent);
      const curve = run.curves[select.value];
      const gap = (index) => Math.abs(curve[index][LAYERS] - layers);
      slider.max = curve.length - 1;
      slider.value = curve.reduce((best, _, index) => (gap(index) < gap(best) ? index : best), 0);
      show();
    });
    slider.addEventListener("input", show);
    for (const box of part.querySelectorAll(".toggles input")) {
      const apply = () => {
        for (const series of part.querySelectorAll(".series")) {
          if (series.dataset.policy === box.dataset.policy) series.classList.toggle("off", !box.checked);
        }
      };
      box.addEventListener("change", apply);
      apply();
    }
    select.value = run.policy;
    slider.max = run.curves[run.policy].length - 1;
    slider.value = run.index;
    show();
    charts.forEach(hover);
  }

  function together(part) {
    const chart = part.querySelector(".chart");
    const select = part.querySelector("select");
    const show = () => {
      part.querySelector("[data-out=policy]").textContent = select.value;
      for (const series of chart.querySelectorAll(".series")) {
        series.classList.toggle("off", ![select.value, "oracle", "truncated"].includes(series.dataset.policy));
      }
    };
    select.value = part.dataset.chosen;
    select.addEventListener("change", show);
    show();
    hover(chart);
  }

  for (const part of document.querySelectorAll(".tradeoff")) tradeoff(part);
  for (const part of document.querySelectorAll(".together")) together(part);
  for (const button of document.querySelectorAll(".copy")) {
    button.addEventListener("click", async () => {
      const code = button.parentElement.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(code);
        button.textContent = "Selected";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }
  addEventListener("beforeprint", () => { for (const one of document.querySelectorAll("details")) one.open = true; });
})();
