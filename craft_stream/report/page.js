"use strict";
(() => {
  const byId = (id) => document.getElementById(id);

  // A link to what is folded unfolds it.
  const unfold = () => {
    const found = location.hash.length > 1 && byId(decodeURIComponent(location.hash.slice(1)));
    if (found instanceof HTMLDetailsElement) {
      found.open = true;
      found.scrollIntoView();
      found.querySelector("summary").focus({ preventScroll: true });
    }
  };
  addEventListener("hashchange", unfold);
  unfold();

  const source = byId("counts");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const slider = byId("slider");
  const pairs = [...byId("store").children].map((node) => ({ node, at: Number(node.dataset.at) }));
  const whole = new Intl.NumberFormat("en");

  // KL(target || accepted) with half a pair added to each cluster, as craft_stream.selection.divergence has it.
  const divergence = (counts) => {
    const mass = counts.reduce((a, b) => a + b + 0.5, 0);
    const target = data.shares.reduce((a, b) => a + b, 0);
    return data.shares.reduce((sum, share, cluster) => {
      const p = share / target;
      return p > 0 ? sum + p * Math.log((p * mass) / (counts[cluster] + 0.5)) : sum;
    }, 0);
  };

  // A row is [bin, cluster, accepted, over budget], bins counted from the bar of each cluster. Above its bar pairs over budget stay
  // out, as they did.
  const count = (edge) => {
    const clusters = data.shares.map(() => 0);
    let taken = 0;
    let left = 0;
    for (const [bin, cluster, accepted, over] of data.rows) {
      const own = (bin >= edge ? accepted : 0) + (bin >= edge && (!data.decided || bin < data.start) ? over : 0);
      taken += own;
      left += accepted + over - own;
      if (cluster >= 0 && cluster < clusters.length) clusters[cluster] += own;
    }
    return { taken, left, clusters };
  };

  const show = () => {
    const edge = Number(slider.value);
    const at = data.low + edge * data.step;
    const { taken, left, clusters } = count(edge);
    const moved = edge !== data.start || !data.decided;
    byId("mark").setAttribute("d", `M${(1000 * edge) / data.bins} 0V100`);
    byId("t-at").textContent = (data.decided && at > 0.001 ? "+" : "") + at.toFixed(2);
    byId("reset").hidden = edge === data.start;
    byId("t-accepted").textContent = whole.format(taken);
    byId("t-share").textContent = `${((100 * taken) / Math.max(data.pairs, 1)).toFixed(2)} %`;
    byId("t-over").textContent = whole.format(left);
    if (byId("t-kl")) byId("t-kl").textContent = taken ? Math.max(divergence(clusters), 0).toFixed(3) : "-";
    slider.setAttribute("aria-valuetext", `${at.toFixed(2)}: ${whole.format(taken)} accepted`);
    byId("nearest").hidden = moved;
    byId("shifted").hidden = !moved;
    if (moved) {
      const first = pairs.findIndex((pair) => pair.at >= at - 1e-9);
      const cut = first < 0 ? pairs.length : first;
      byId("would").replaceChildren(...pairs.slice(cut, cut + 6).map((pair) => pair.node));
      byId("wouldnot").replaceChildren(...pairs.slice(Math.max(cut - 6, 0), cut).reverse().map((pair) => pair.node));
    }
  };

  byId("moved").hidden = false;
  slider.hidden = false;
  slider.addEventListener("input", show);
  byId("reset").addEventListener("click", () => {
    slider.value = data.start;
    show();
  });
  show();
})();
