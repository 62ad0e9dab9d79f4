// Checks glTF files with Khronos' validator: node validate.js MODULES FOLDER...
// One line for each file with errors; exit code 1 where there is one.
const fs = require("fs");
const path = require("path");
const [modules, ...places] = process.argv.slice(2);
const validator = require(path.resolve(modules, "gltf-validator"));

function* filesBelow(place) {
  if (!fs.existsSync(place)) return;
  if (!fs.statSync(place).isDirectory()) { yield place; return; }
  for (const name of fs.readdirSync(place).sort()) yield* filesBelow(path.join(place, name));
}

async function check(file) {
  const beside = (uri) => new Promise((done, failed) => {
    const other = path.resolve(path.dirname(file), decodeURIComponent(uri));
    fs.readFile(other, (error, data) => (error ? failed(error.toString()) : done(data)));
  });
  const report = await validator.validateBytes(new Uint8Array(fs.readFileSync(file)), {
    uri: path.basename(file), externalResourceFunction: beside, maxIssues: 200,
  });
  const bad = report.issues.messages.filter((issue) => issue.severity === 0);
  for (const issue of bad.slice(0, 5)) {
    console.log(`${file}: ${issue.code} at ${issue.pointer}: ${issue.message}`);
  }
  return report.issues.numErrors;
}

(async () => {
  const files = places.flatMap((place) => [...filesBelow(place)])
    .filter((file) => /\.(glb|gltf)$/i.test(file));
  let bad = 0;
  for (const file of files) {
    try {
      if (await check(file)) bad += 1;
    } catch (error) {
      console.log(`${file}: ${error}`);
      bad += 1;
    }
  }
  console.log(`Khronos validator: ${files.length} glTF files, ${bad} with errors.`);
  process.exitCode = bad ? 1 : 0;
})();
