
showLens(document.getElementById("lens"), JSON.parse(document.getElementById("data").textContent));
