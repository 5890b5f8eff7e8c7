// Draws what is live anew every two seconds while somebody looks; everything else works without.
const EVERY = 2000;
const button = document.getElementById("pause");
const silence = document.getElementById("silence");
let paused = false;

const refresh = async () => {
  if (paused || document.hidden) return;
  try {
    const answer = await fetch("/", { signal: AbortSignal.timeout(10 * EVERY) });
    if (!answer.ok) throw new Error(answer.statusText);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll("[data-live]")) {
      const other = fresh.getElementById(part.id);
      // what has the focus, or is marked to be copied, stays as it is
      const held = part.contains(document.activeElement) || getSelection().containsNode(part, true) && !getSelection().isCollapsed;
      if (other && !held && other.innerHTML !== part.innerHTML) part.replaceChildren(...other.childNodes);
    }
    silence.hidden = true;
  } catch {
    silence.hidden = false;
  }
};

const turn = async () => {
  await refresh();
  setTimeout(turn, EVERY);
};

button.hidden = false;
button.addEventListener("click", () => {
  paused = !paused;
  button.textContent = paused ? "Go on" : "Pause";
});
setTimeout(turn, EVERY);
