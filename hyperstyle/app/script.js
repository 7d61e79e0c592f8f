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

// What Gradio has no argument for: texts in place of the two images, the line of progress for screen readers, and on a
// phone, where the result is below the photo, the way to it.
new MutationObserver(() => {
  const images = document.querySelectorAll("#result .content img");
  ["The original", "The rebuilt and changed face"].forEach((text, i) => {
    if (images[i] && images[i].alt !== text) images[i].alt = text;
  });
  const status = document.querySelector("#status");
  if (status && !status.hasAttribute("aria-live")) status.setAttribute("aria-live", "polite");
  const isOpen = images.length > 0;
  if (isOpen && !window.hyperstyle.isOpen && window.innerWidth <= 700) {
    status.scrollIntoView({ behavior: "smooth" });
  }
  window.hyperstyle.isOpen = isOpen;
}).observe(document.documentElement, { childList: true, subtree: true });
