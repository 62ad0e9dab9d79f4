// An asset to turn, physically lit, with three.js; beside what it was before, where that is known.
(function () {
  "use strict";
  const canvas = document.getElementById("view"), stage = canvas.parentElement;
  const box = (id) => document.getElementById(id);

  // What a user reads in the canvas's place when it cannot show the asset.
  function refuse(why) {
    const said = document.createElement("p");
    said.className = "problem"; said.textContent = why;
    stage.replaceWith(said);
    for (const bar of document.querySelectorAll(".bar")) bar.remove();
  }

  const bytes = (text) => {
    const letters = atob(text), out = new Uint8Array(letters.length);
    for (let i = 0; i < letters.length; i++) out[i] = letters.charCodeAt(i);
    return out.buffer;
  };
  const linear = (c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const display = (values) => new THREE.Color(...values.slice(0, 3).map((v) => linear(Math.max(0, v))));

  // What is brighter than white keeps its shape and its hue.
  const TONES = `vec3 CustomToneMapping(vec3 color) {
    color *= toneMappingExposure;
    float top = max(color.r, max(color.g, color.b));
    return top > 0.7 ? color * (1.0 - 0.3 * exp((0.7 - top) / 0.3)) / top : color;
  }`;

  // Normals look at whoever looks, whichever way a file's faces are wound; the inside of a surface
  // that has only one side is dark.
  function mend(material, oneSided) {
    material.onBeforeCompile = (shader) => {
      shader.fragmentShader = shader.fragmentShader
        .replace("#include <normal_fragment_begin>", `#include <normal_fragment_begin>
          if (dot(normal, cross(dFdx(vViewPosition), dFdy(vViewPosition))) < 0.0) normal = -normal;
          geometryNormal = normal;`)
        .replace("#include <output_fragment>", `${oneSided ? "if (!gl_FrontFacing) outgoingLight *= 0.4;" : ""}
          #include <output_fragment>`);
    };
    material.customProgramCacheKey = () => `mended ${oneSided}`;
    return material;
  }

  // A room to be mirrored: a bright ceiling, a window to the left, a dim floor.
  function room() {
    const scene = new THREE.Scene();
    const paint = (level) => new THREE.MeshBasicMaterial({ color: new THREE.Color(level, level, level * 1.01), side: THREE.DoubleSide });
    const walls = new THREE.Mesh(new THREE.BoxGeometry(20, 12, 20), [0.5, 0.5, 0.9, 0.3, 0.6, 0.48].map(paint));
    const window_ = new THREE.Mesh(new THREE.PlaneGeometry(7, 6), paint(4));
    window_.position.set(-9.5, 1.5, 4); window_.rotation.y = Math.PI / 2;
    const lamp = new THREE.Mesh(new THREE.PlaneGeometry(8, 8), paint(3));
    lamp.position.set(2, 5.8, 2); lamp.rotation.x = Math.PI / 2;
    scene.add(walls, window_, lamp);
    return scene;
  }

  // Texture coordinates made visible: a chequered sheet whose hue runs along u.
  function sheet() {
    const cells = 16, size = 512, drawn = document.createElement("canvas"), step = size / cells;
    drawn.width = drawn.height = size;
    const pen = drawn.getContext("2d");
    for (let y = 0; y < cells; y++) for (let x = 0; x < cells; x++) {
      pen.fillStyle = `hsl(${360 * x / cells}, 45%, ${((x + y) % 2 ? 50 : 66) + 14 * y / cells}%)`;
      pen.fillRect(x * step, y * step, step, step);
    }
    const texture = new THREE.CanvasTexture(drawn);
    texture.wrapS = texture.wrapT = THREE.RepeatWrapping;
    texture.encoding = THREE.sRGBEncoding;
    return texture;
  }

  async function start() {
    const data = JSON.parse(box("mesh").textContent);
    if (!data.parts.length) return refuse("There is nothing to show: this asset has no faces.");
    if (typeof THREE === "undefined")
      return refuse("The view to turn needs three.js, which the installed trimesh did not bring; open the file in any 3D viewer.");
    const options = { antialias: true, alpha: false, preserveDrawingBuffer: true };
    const context = canvas.getContext("webgl2", options);
    if (!context) return refuse("This browser shows no WebGL 2, or it is switched off; open the file in any 3D viewer.");
    THREE.ShaderChunk.tonemapping_pars_fragment = THREE.ShaderChunk.tonemapping_pars_fragment
      .replace(/vec3 CustomToneMapping\(\s*vec3 color\s*\)\s*\{\s*return color;\s*\}/, TONES);
    const renderer = new THREE.WebGLRenderer({ canvas, context, ...options });
    renderer.outputEncoding = THREE.sRGBEncoding;
    renderer.toneMapping = THREE.CustomToneMapping;
    renderer.shadowMap.enabled = true;
    renderer.shadowMap.type = THREE.PCFSoftShadowMap;
    renderer.shadowMap.autoUpdate = false;
    renderer.setClearColor(0xe6e4df);

    // A mesh and what it was before share their arrays where these are equal.
    const arrays = await Promise.all(data.arrays.map((packed) => unpacked(packed).arrayBuffer()));
    data.arrays = null;

    const WRAPS = { repeat: THREE.RepeatWrapping, clamp: THREE.ClampToEdgeWrapping, mirror: THREE.MirroredRepeatWrapping };
    const loaded = {};
    function load(number, part, colours) {
      const key = [number, part.wrap, part.nearest, colours].join();
      if (loaded[key]) return loaded[key];
      const texture = loaded[key] = new THREE.Texture(), image = new Image();
      texture.encoding = colours ? THREE.sRGBEncoding : THREE.LinearEncoding;
      [texture.wrapS, texture.wrapT] = part.wrap.map((name) => WRAPS[name]);
      texture.magFilter = part.nearest ? THREE.NearestFilter : THREE.LinearFilter;
      texture.anisotropy = Math.min(8, renderer.capabilities.getMaxAnisotropy());
      image.onload = () => { texture.image = image; texture.needsUpdate = true; ask(); };
      image.src = data.pictures[number];
      return texture;
    }

    const clay = mend(new THREE.MeshStandardMaterial({ color: display([0.80, 0.785, 0.765]), roughness: 0.9, side: THREE.DoubleSide }), false);
    const coordinates = new THREE.MeshBasicMaterial({ map: sheet(), side: THREE.DoubleSide, toneMapped: false });
    const edges = new THREE.LineBasicMaterial({ color: 0x1d1b19, transparent: true, opacity: 0.45 });
    const none = new THREE.MeshBasicMaterial({ color: 0xc9c6c0, side: THREE.DoubleSide, toneMapped: false });
    for (const solid of [clay, coordinates, none]) Object.assign(solid, { polygonOffset: true, polygonOffsetFactor: 1, polygonOffsetUnits: 1 });

    // The materials of a part: as it is lit, and its colours alone.
    function painted(part) {
      const see = part.alphaMode === "BLEND", cut = part.alphaMode === "MASK" ? part.alphaCutoff : 0;
      const shared = {
        color: display(part.colour), opacity: see ? part.colour[3] : 1, transparent: see, depthWrite: !see, alphaTest: cut,
        side: THREE.DoubleSide, vertexColors: part.colours !== undefined,
        map: part.texture === undefined ? null : load(part.texture, part, true),
        polygonOffset: true, polygonOffsetFactor: 1, polygonOffsetUnits: 1,
      };
      const flat = new THREE.MeshBasicMaterial({ ...shared, toneMapped: false });
      if (part.unlit) return { lit: flat, flat };
      const rough = part.roughnessMap === undefined ? null : load(part.roughnessMap, part, false);
      const lit = new THREE.MeshStandardMaterial({
        ...shared, roughness: part.roughness, metalness: part.metallic, roughnessMap: rough, metalnessMap: rough,
        normalMap: part.normalMap === undefined ? null : load(part.normalMap, part, false),
        normalScale: new THREE.Vector2(part.normalScale, part.normalScale),
        aoMap: part.occlusionMap === undefined ? null : load(part.occlusionMap, part, false),
        emissive: new THREE.Color(...part.emission),
        emissiveMap: part.emissiveMap === undefined ? null : load(part.emissiveMap, part, true),
      });
      return { lit: mend(lit, !part.doubleSided), flat };
    }

    let radius = 0, low = Infinity, high = -Infinity, triangles = 0, mapped = false;
    function built(part) {
      const geometry = new THREE.BufferGeometry(), places = new Float32Array(arrays[part.positions]);
      geometry.setAttribute("position", new THREE.BufferAttribute(places, 3));
      geometry.setAttribute("normal", new THREE.BufferAttribute(new Int8Array(arrays[part.normals]), 3, true));
      geometry.setIndex(new THREE.BufferAttribute(new Uint32Array(arrays[part.faces]), 1));
      if (part.uv !== undefined) {
        const uv = new THREE.BufferAttribute(new Float32Array(arrays[part.uv]), 2);
        geometry.setAttribute("uv", uv); geometry.setAttribute("uv2", uv);
        mapped = true;
      }
      if (part.colours !== undefined) {
        const shown = new Uint8Array(arrays[part.colours]), light = new Float32Array(shown.length);
        for (let i = 0; i < shown.length; i++) light[i] = i % 4 === 3 ? shown[i] / 255 : linear(shown[i] / 255);
        geometry.setAttribute("color", new THREE.BufferAttribute(light, 4));
      }
      for (let i = 0; i < places.length; i += 3) {
        radius = Math.max(radius, Math.hypot(places[i], places[i + 2]));
        low = Math.min(low, places[i + 1]); high = Math.max(high, places[i + 1]);
      }
      triangles += geometry.index.count / 3;
      const mesh = new THREE.Mesh(geometry, clay);
      mesh.looks = painted(part); mesh.mapped = part.uv !== undefined;
      mesh.castShadow = part.alphaMode !== "BLEND"; mesh.receiveShadow = true;
      return mesh;
    }

    const pictured = new THREE.PMREMGenerator(renderer);
    const surroundings = pictured.fromScene(room(), 0.03).texture;
    pictured.dispose();
    const floor = new THREE.Mesh(new THREE.PlaneGeometry(12, 12), new THREE.ShadowMaterial({ opacity: 0.2 }));
    function arranged(parts) {
      const scene = new THREE.Scene();
      scene.environment = surroundings;
      scene.meshes = parts.map(built);
      scene.add(...scene.meshes);
      return scene;
    }
    const after = arranged(data.parts), before = data.before && data.before.length ? arranged(data.before) : null;
    const scenes = before ? [after, before] : [after];
    const middle = (low + high) / 2, half = Math.max((high - low) / 2, 1e-4);
    floor.rotation.x = -Math.PI / 2; floor.position.y = low - 0.002; floor.receiveShadow = true;
    const suns = scenes.map((scene, k) => {
      const sun = new THREE.DirectionalLight(0xfffaf2, 1.25);
      sun.castShadow = true; sun.shadow.mapSize.set(2048, 2048); sun.shadow.radius = 5; sun.shadow.bias = -0.0004; sun.shadow.normalBias = 0.012;
      Object.assign(sun.shadow.camera, { left: -1.5, right: 1.5, top: 1.5, bottom: -1.5, near: 0.5, far: 8 });
      scene.add(sun, sun.target, k ? floor.clone() : floor);
      return sun;
    });

    // The camera looks at `target` from `distance`, in units of the asset's radius.
    const HALF = 0.3, camera = new THREE.PerspectiveCamera(HALF * 360 / Math.PI, 1, 0.01, 100);
    let azimuth, elevation, distance, target, sunlight = 0, spun = 0, spin = true, look = "lit", wires = false, split = 0.5;
    let asked = false, over = false, seen = true;
    function fit() {
      // The cylinder about the asset is inside, however it is turned about its axis.
      const aspect = canvas.clientWidth / Math.max(1, canvas.clientHeight), tan = Math.tan(HALF);
      const ce = Math.cos(elevation), se = Math.sin(elevation);
      let need = 0;
      for (const level of [-half, half]) for (let k = 0; k < 48; k++) {
        const a = k * Math.PI / 24, deep = radius * Math.cos(a), x = Math.abs(radius * Math.sin(a));
        const towards = deep * ce + level * se, y = Math.abs(level * ce - deep * se);
        need = Math.max(need, towards + Math.max(y / tan, x / (tan * aspect)));
      }
      return 1.06 * need;
    }
    function reset() { azimuth = 0.5; elevation = 0.26; target = [0, middle, 0]; distance = fit(); }
    function axes() {
      const ca = Math.cos(azimuth), sa = Math.sin(azimuth), ce = Math.cos(elevation), se = Math.sin(elevation);
      return { right: [ca, 0, -sa], up: [-se * sa, ce, -se * ca], back: [ce * sa, se, ce * ca] };
    }
    function dress() {
      for (const scene of scenes) for (const mesh of scene.meshes) {
        mesh.material = look === "clay" ? clay : look === "uv" ? (mesh.mapped ? coordinates : none) : mesh.looks[look];
        if (wires && !mesh.wires) {
          mesh.wires = new THREE.LineSegments(new THREE.WireframeGeometry(mesh.geometry), edges);
          mesh.add(mesh.wires);
        }
        if (mesh.wires) mesh.wires.visible = wires;
      }
      floor.parent.children.concat(before ? before.children : []).filter((c) => c.material && c.material.isShadowMaterial)
        .forEach((c) => { c.visible = look === "lit" || look === "clay"; });
      ask();
    }
    function shine() {
      const a = -0.75 + sunlight;
      for (const sun of suns) {
        sun.position.set(3 * Math.sin(a), middle + 3.1, 3 * Math.cos(a)); sun.target.position.set(0, middle, 0);
        sun.target.updateMatrixWorld();
      }
      renderer.shadowMap.needsUpdate = true;
      ask();
    }
    function draw() {
      const { back, up } = axes(), width = canvas.clientWidth, height = canvas.clientHeight;
      camera.aspect = width / Math.max(1, height);
      const away = distance + Math.hypot(target[0], target[1] - middle, target[2]);
      camera.near = Math.max(away / 2000, distance - 2.2 - (away - distance)); camera.far = away + 12;
      camera.updateProjectionMatrix();
      camera.position.set(...back.map((b, i) => target[i] + b * distance));
      camera.up.set(...up); camera.lookAt(...target);
      if (!before) return renderer.render(after, camera);
      const at = Math.round(width * split), shadows = renderer.shadowMap.needsUpdate;
      renderer.setScissorTest(true);
      renderer.setScissor(0, 0, at, height); renderer.render(before, camera);
      renderer.shadowMap.needsUpdate = shadows;
      renderer.setScissor(at, 0, width - at, height); renderer.render(after, camera);
      renderer.setScissorTest(false);
    }
    // One frame for any number of wishes.
    function ask() {
      if (asked || over) return;
      asked = true;
      requestAnimationFrame(() => {
        asked = false;
        if (over) return;
        // Once around, and then it rests.
        if (spin && seen) { azimuth += 0.008; spun += 0.008; spin = spun < 2 * Math.PI; }
        try { draw(); } catch (problem) { over = true; return refuse(`The viewer has failed: ${problem.message}`); }
        if (spin && seen) ask();
      });
    }
    function resize() {
      const fitted = resize.last === undefined || Math.abs(distance - resize.last) < 1e-9;
      renderer.setPixelRatio(Math.min(window.devicePixelRatio || 1, 3));
      renderer.setSize(Math.max(1, canvas.clientWidth), Math.max(1, canvas.clientHeight), false);
      // Whoever has not zoomed still sees all of it.
      if (fitted) distance = fit();
      resize.last = fit();
      ask();
    }

    function turn(x, y) { azimuth -= x; elevation = Math.max(-1.55, Math.min(1.55, elevation + y)); ask(); }
    function zoom(share) { distance = Math.max(0.05, Math.min(60, distance * share)); ask(); }
    function move(x, y) {
      // Pixels on the page to distances at the target.
      const { right, up } = axes(), share = 2 * distance * Math.tan(HALF) / Math.max(1, canvas.clientHeight);
      for (let i = 0; i < 3; i++) target[i] = Math.max(-3, Math.min(3, target[i] - (right[i] * x - up[i] * y) * share));
      ask();
    }
    const fingers = new Map();
    const spread = () => {
      const [a, b] = [...fingers.values()];
      return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, far: Math.max(8, Math.hypot(a.x - b.x, a.y - b.y)) };
    };
    canvas.addEventListener("pointerdown", (e) => {
      spin = false; fingers.set(e.pointerId, { x: e.clientX, y: e.clientY }); canvas.setPointerCapture(e.pointerId);
    });
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"])
      canvas.addEventListener(end, (e) => fingers.delete(e.pointerId));
    canvas.addEventListener("pointermove", (e) => {
      const last = fingers.get(e.pointerId);
      if (!last) return;
      const two = fingers.size === 2 && spread(), x = e.clientX - last.x, y = e.clientY - last.y;
      fingers.set(e.pointerId, { x: e.clientX, y: e.clientY });
      if (two) { const now = spread(); zoom(two.far / now.far); move(now.x - two.x, now.y - two.y); }
      else if (fingers.size > 2) return;
      else if (e.shiftKey || e.buttons & 6) move(x, y);
      else turn(x * 0.01, y * 0.01);
    });
    canvas.addEventListener("contextmenu", (e) => e.preventDefault());
    canvas.addEventListener("wheel", (e) => {
      // A page that is scrolled is scrolled on, unless its picture was clicked before.
      if (!stage.dataset.whole && document.activeElement !== canvas && !e.ctrlKey) return;
      e.preventDefault(); spin = false;
      // Lines and pages as pixels.
      zoom(Math.exp(Math.max(-200, Math.min(200, e.deltaY * [1, 16, 400][e.deltaMode])) * 0.0015));
    }, { passive: false });
    canvas.addEventListener("dblclick", () => { reset(); ask(); });
    const KEYS = {
      ArrowLeft: (s) => s ? move(-30, 0) : turn(0.1, 0), ArrowRight: (s) => s ? move(30, 0) : turn(-0.1, 0),
      ArrowUp: (s) => s ? move(0, -30) : turn(0, 0.1), ArrowDown: (s) => s ? move(0, 30) : turn(0, -0.1),
      "+": () => zoom(0.9), "=": () => zoom(0.9), "-": () => zoom(1.1),
      0: () => { reset(); ask(); }, Home: () => { reset(); ask(); },
      c: () => box(look === "clay" ? "look-lit" : "look-clay").click(), w: () => box("wires").click(),
    };
    canvas.addEventListener("keydown", (e) => {
      if (!KEYS[e.key] || e.ctrlKey || e.metaKey || e.altKey) return;
      e.preventDefault(); spin = false; KEYS[e.key](e.shiftKey);
    });
    for (const name of ["lit", "flat", "clay", "uv"])
      box(`look-${name}`).addEventListener("change", () => { look = name; dress(); });
    if (!mapped) { box("look-uv").disabled = true; box("look-uv").parentElement.title = "This asset has no texture coordinates"; }
    box("wires").addEventListener("change", (e) => { wires = e.target.checked; dress(); });
    box("sun").addEventListener("input", (e) => { sunlight = e.target.value * Math.PI / 180; shine(); });
    box("reset").addEventListener("click", () => { spin = false; reset(); ask(); });
    const slider = box("split");
    if (slider) slider.addEventListener("input", () => {
      split = slider.value / 100; stage.style.setProperty("--at", `${slider.value}%`); ask();
    });
    canvas.addEventListener("webglcontextlost", (e) => {
      e.preventDefault(); over = true;
      refuse("The browser has taken the graphics memory back, perhaps because it ran out; load the page again.");
    });
    // Nothing turns by itself where that is unwelcome, or work for the graphics card.
    if (triangles > 1e6 || window.matchMedia("(prefers-reduced-motion: reduce)").matches) spin = false;
    new IntersectionObserver((all) => { seen = all[all.length - 1].isIntersecting; if (seen) ask(); }).observe(canvas);
    reset(); resize(); dress(); shine();
    new ResizeObserver(resize).observe(canvas);
    stage.dataset.shown = triangles;
  }

  const unpacked = (packed) =>
    new Response(new Blob([bytes(packed)]).stream().pipeThrough(new DecompressionStream("gzip")));

  // three.js lies packed in the page, for it is two thirds of a small one.
  async function unpack() {
    const packed = box("three").textContent.trim();
    if (!packed) return;
    const script = document.createElement("script");
    script.textContent = await unpacked(packed).text();
    document.head.append(script);
  }

  if (typeof DecompressionStream === "undefined")
    return refuse("This browser is older than 2023 and cannot unpack the viewer; open the file in any 3D viewer.");
  unpack().then(start).catch((problem) => refuse(problem instanceof RangeError
    ? "This browser has not enough memory for this asset."
    : `The viewer has failed: ${problem.message}`));
})();
