// What the page does without the server.
window.hyperstyle = {
  // Shows the sliders whose label contains the text, and the groups that have one.
  search(text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    for (const group of document.querySelectorAll(".edit-group")) {
      let count = 0;
      for (const slider of group.querySelectorAll(".edit")) {
        const label = slider.querySelector("label").textContent + " " + slider.id.replace("edit-", "").replace(/_/g, " ");
        const isMatch = words.every((word) => label.toLowerCase().includes(word));
        slider.style.display = isMatch ? "" : "none";
        count += isMatch;
      }
      group.style.display = count ? "" : "none";
    }
  },

  // Downloads a file that the server wrote, as Gradio describes it.
  download(file) {
    const link = document.createElement("a");
    link.href = file.url;
    link.download = file.orig_name;
    link.click();
  },
};

// Gradio's reset button at a slider changes its value and says nothing to the server.
document.addEventListener("click", (event) => {
  const slider = event.target.closest(".edit .reset-button")?.closest(".edit").querySelector("input[type=range]");
  if (slider) setTimeout(() => slider.dispatchEvent(new Event("input", { bubbles: true })), 50);
});

// Gradio's handle between before and after follows the mouse alone: keys become its events.
document.addEventListener("keydown", (event) => {
  const handle = event.target.closest("#result [data-testid=slider]");
  const way = { ArrowLeft: -0.05, ArrowRight: 0.05, Home: -1, End: 1 }[event.key];
  if (!handle || way === undefined) return;
  event.preventDefault();
  const [images, place] = [handle.parentElement, handle].map((element) => element.getBoundingClientRect());
  const [x, clientY] = [place.left + place.width / 2, place.top + place.height / 2];
  const aim = Math.min(Math.max(x + way * images.width, images.left), images.right);
  const send = (target, type, clientX) =>
    target.dispatchEvent(new MouseEvent(type, { bubbles: true, cancelable: true, view: window, clientX, clientY }));
  send(handle, "mousedown", x);
  send(window, "mousemove", aim);
  send(window, "mouseup", aim);
  handle.setAttribute("aria-valuenow", Math.round((100 * (aim - images.left)) / images.width));
});

// What Gradio has no argument for: texts in place of the two images, a handle between them that has the focus of keys,
// the line of progress for screen readers, and on a phone, where the result is below the photo, the way to it.
new MutationObserver(() => {
  const images = document.querySelectorAll("#result .content img");
  ["The original", "The rebuilt and changed face"].forEach((text, i) => {
    if (images[i] && images[i].alt !== text) images[i].alt = text;
  });
  const handle = document.querySelector("#result [data-testid=slider]");
  if (handle && !handle.hasAttribute("tabindex")) {
    const described = { tabindex: 0, role: "slider", "aria-label": "Where after begins, in percent of the width",
      "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": 50 };
    for (const [name, value] of Object.entries(described)) handle.setAttribute(name, value);
  }
  const status = document.querySelector("#status");
  if (status && !status.hasAttribute("aria-live")) status.setAttribute("aria-live", "polite");
  const isOpen = images.length > 0;
  if (isOpen && !window.hyperstyle.isOpen && window.innerWidth <= 700) {
    status.scrollIntoView({ behavior: "smooth" });
  }
  window.hyperstyle.isOpen = isOpen;
}).observe(document.documentElement, { childList: true, subtree: true });
