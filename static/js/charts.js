// Draws every <figure data-chart="id of a json_script"> with Chart.js. The table under it holds the same numbers.
(() => {
  const drawn = new Map();
  const library = document.currentScript.dataset.library; // loaded only by pages that have a chart
  let loading = null;
  const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colour = (index) => token(`--am-series-${(index % 6) + 1}`);

  function points(series, spec) {
    return series.points.map((point, index) => {
      if (!Array.isArray(point)) return spec.categories ? point : { x: index, y: point };
      return spec.categories ? point[1] : { x: point[0], y: point[1] };
    });
  }

  function lineSet(series, index, spec) {
    const scatter = spec.type === "scatter";
    return {
      label: series.label,
      data: points(series, spec),
      borderColor: colour(index),
      backgroundColor: spec.type === "bar" ? colour(index) : "transparent",
      borderDash: series.dashed ? [6, 5] : [],
      borderWidth: spec.type === "bar" ? 0 : 2,
      pointRadius: scatter ? 3 : series.points.length > 40 ? 0 : 2.5,
      pointBackgroundColor: colour(index),
      showLine: !scatter,
      stepped: spec.type === "step" ? "before" : false,
      tension: 0,
    };
  }

  // A band is two unseen lines with the space between them filled.
  function bandSets(series, index) {
    const edge = { borderWidth: 0, pointRadius: 0, pointHitRadius: 0, isBand: true, label: "" };
    return [
      { ...edge, data: series.band.map(([x, low]) => ({ x, y: low })), fill: false },
      { ...edge, data: series.band.map(([x, , high]) => ({ x, y: high })), fill: "-1", backgroundColor: `${colour(index)}2e` },
    ];
  }

  function axis(spec, name) {
    const categorical = name === "x" && spec.categories;
    return {
      type: categorical ? "category" : "linear",
      min: spec[`${name}_min`] ?? undefined,
      max: spec[`${name}_max`] ?? undefined,
      beginAtZero: spec.type === "bar" && name === "y",
      title: { display: Boolean(spec[name]), text: spec[name] || "", color: token("--am-muted") },
      ticks: { color: token("--am-muted"), maxRotation: 45, precision: undefined },
      grid: { color: token("--am-line"), display: !categorical },
      border: { color: token("--am-line-strong") },
    };
  }

  function configuration(spec) {
    const datasets = spec.series.flatMap((series, index) => [
      ...(series.band && series.band.length ? bandSets(series, index) : []),
      lineSet(series, index, spec),
    ]);
    return {
      type: spec.type === "bar" ? "bar" : spec.type === "scatter" ? "scatter" : "line",
      data: { labels: spec.categories, datasets },
      options: {
        responsive: true,
        maintainAspectRatio: false,
        animation: false,
        interaction: { mode: spec.type === "bar" ? "index" : "nearest", intersect: false },
        scales: { x: axis(spec, "x"), y: axis(spec, "y") },
        plugins: {
          legend: {
            display: spec.series.length > 1,
            position: "bottom",
            labels: {
              color: token("--am-ink"), boxWidth: 18, boxHeight: 2,
              filter: (item, data) => !data.datasets[item.datasetIndex].isBand,
            },
          },
          tooltip: { filter: (item) => !item.dataset.isBand },
        },
      },
    };
  }

  function draw(figure) {
    const data = document.getElementById(figure.dataset.chart);
    const canvas = figure.querySelector("canvas");
    if (!data || !canvas || !window.Chart) return;
    drawn.get(figure)?.destroy();
    canvas.parentElement.hidden = false;
    drawn.set(figure, new window.Chart(canvas, configuration(JSON.parse(data.textContent))));
  }

  function load() {
    loading ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = library;
      script.onload = resolve;
      script.onerror = reject;
      document.head.append(script);
    });
    return loading;
  }

  async function drawAll(root) {
    if (!root.querySelector("[data-chart]")) return;
    await load();
    window.Chart.defaults.font.family = token("--am-font");
    root.querySelectorAll("[data-chart]").forEach(draw);
    for (const [figure, chart] of drawn) {
      if (figure.isConnected) continue;
      chart.destroy();
      drawn.delete(figure);
    }
  }

  document.addEventListener("DOMContentLoaded", () => drawAll(document));
  document.addEventListener("htmx:afterSettle", (event) => drawAll(event.target.parentElement || document));
  document.addEventListener("aimass:theme", () => drawAll(document));
})();
