# Two commands: `make demo` and `make test`. Both make the environment on first use.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready

.PHONY: demo test test-triton test-extras trips validate docs lint benchmark benchmark-quick train clean

$(READY): pyproject.toml requirements-cpu.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 demo"; exit 2; }
	@echo "Setting up $(VENV) (once, a few minutes) ..."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-cpu.txt
	$(BIN)/python -c "from threestudio_like.kernels import warm_up; warm_up(lambda name, i, n: print(f'compiling kernels {i + 1}/{n} ({name})', flush=True))"
	@touch $(READY)

demo: $(READY)
	$(BIN)/threestudio-like generate "a red chair"

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 40 --durations-min 15

# Triton's kernels in its interpreter, without a GPU. Triton stands in a folder of its own: it would slow every start on a CPU.
$(VENV)/triton: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --target $(VENV)/triton -c constraints.txt triton

test-triton: $(VENV)/triton
	PYTHONPATH=$(VENV)/triton $(BIN)/python -m pytest tests/test_triton.py -n 2 --dist load -p no:cacheprovider

# Heavier alternatives of the mesh tools, tested where they are installed: pip install -e '.[mesh]'
test-extras: $(READY)
	$(BIN)/python -m pytest tests/extras -q -p no:cacheprovider

# Round trips of all assets, in which nothing is lost in silence.
trips: $(READY)
	rm -rf $(VENV)/made && mkdir -p $(VENV)/made
	for name in $(wildcard assets/meshes/*.obj); do \
		$(BIN)/threestudio-like mesh convert $$name --out $(VENV)/made/$$(basename $$name .obj).glb > $(VENV)/made/log || exit 1; done
	$(BIN)/python benchmarks/roundtrip.py --skip-texture --keep $(VENV)/made/trips > $(VENV)/made/log 2>&1 || { cat $(VENV)/made/log; exit 1; }

# Every GLB that the package writes is valid: the round trips', the assets', and those in MADE.
validate: trips
	.ci/validate assets $(VENV)/made $(MADE)

# The documentation as a site in site/, strictly and without a network. Search wants it served: python -m http.server -d site
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy threestudio_like

benchmark: $(READY)
	$(BIN)/python benchmarks/kernels.py
	$(BIN)/python benchmarks/step_breakdown.py
	$(BIN)/python benchmarks/priors.py
	$(BIN)/python benchmarks/latent_versus_rgb.py
	$(BIN)/python benchmarks/text_to_3d.py
	$(BIN)/python benchmarks/texture.py
	$(BIN)/python benchmarks/painting.py
	$(BIN)/python benchmarks/control.py
	$(BIN)/python benchmarks/sketch_shape.py
	$(BIN)/python benchmarks/roundtrip.py
	$(BIN)/python benchmarks/mesh_speed.py
	$(BIN)/python benchmarks/fuzz_meshes.py
	$(BIN)/python benchmarks/concept.py
	$(BIN)/python benchmarks/cisp.py
	$(BIN)/python benchmarks/cisp_ablations.py
	$(BIN)/python benchmarks/voxel_samplers.py
	$(BIN)/python benchmarks/g3dr.py
	$(BIN)/python benchmarks/g3dr_scaling.py
	$(BIN)/python benchmarks/reconstruct.py --methods cisp g3dr optimise
	$(BIN)/python benchmarks/released_sizes.py
	$(BIN)/python benchmarks/decompose.py
	$(BIN)/python benchmarks/completion.py
	$(BIN)/python benchmarks/half_pictures.py
	$(BIN)/python benchmarks/spatial_words.py
	$(BIN)/python benchmarks/layout_by_text.py
	$(BIN)/python benchmarks/ssds.py
	$(BIN)/python benchmarks/whole_scenes.py
	$(BIN)/python benchmarks/scene_steps.py
	$(BIN)/python benchmarks/lifelike_scenes.py
	$(BIN)/python benchmarks/compose.py
	$(BIN)/python benchmarks/object_gap.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/janus.py
	$(BIN)/python benchmarks/fixed_runs.py
	$(BIN)/python benchmarks/kills.py
	$(BIN)/python benchmarks/tutorials.py
	$(BIN)/python benchmarks/viewer.py
	$(BIN)/python benchmarks/waiting_threads.py
	$(BIN)/python benchmarks/mutations.py
	$(BIN)/python benchmarks/agreement.py
	$(BIN)/python benchmarks/decimation.py
	$(BIN)/python benchmarks/model_families.py
	$(BIN)/python benchmarks/real_size.py
	$(BIN)/python benchmarks/cut_outs.py
	$(BIN)/python benchmarks/backs.py
	$(BIN)/python benchmarks/verdicts.py --calibrate
	$(BIN)/python benchmarks/by_default.py
	$(BIN)/python benchmarks/by_method.py
	$(BIN)/python benchmarks/standing.py --scenes 11 --imported 8
	$(BIN)/python benchmarks/batch_manifests.py --seeds 2
	$(BIN)/python benchmarks/newcomer.py
	$(BIN)/python benchmarks/train_quick.py

# Samples of the tables, made again without changing a page: which figures come out as published, within their intervals.
benchmark-quick: $(READY)
	$(BIN)/python benchmarks/quick.py

train: $(READY)
	$(BIN)/threestudio-like train toybox --workers 2

clean:
	rm -rf $(VENV) site build *.egg-info .pytest_cache .mypy_cache .ruff_cache
