"""One adapter an engine, and the worker process that each runs in.

An engine of its own process can't disturb the others' thread pools or symbols, is idle between its blocks, and may
crash without ending the benchmark.
"""
import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import time
import traceback

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = ROOT / "build" / "bench"
# What a ratio is taken against, by precision.
PEERS = {"fp32": ("tensorflow", "onnxruntime", "openvino"), "bf16": ("tensorflow-bf16", "openvino-bf16")}


def onnx_path(model):
    """The model through tf2onnx at opset 17, converted once; raises RuntimeError with the converter's last line."""
    target = CACHE / "onnx" / f"{model.name}.onnx"
    if target.exists() and target.stat().st_mtime > os.stat(model.path).st_mtime:
        return str(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(f".{os.getpid()}.tmp")
    answer = subprocess.run(
        [sys.executable, "-m", "tf2onnx.convert", "--graphdef", model.path, "--inputs", ",".join(model.feeds),
         "--outputs", ",".join(model.outputs), "--opset", "17", "--output", str(temporary)],
        capture_output=True, text=True)
    if answer.returncode or not temporary.exists():
        lines = (answer.stderr.strip() or "no message").splitlines()
        raise RuntimeError("tf2onnx could not convert the model: " + lines[-1])
    temporary.rename(target)
    return str(target)


class TensorFlow:
    """TensorFlow as users run it: a session with its graph optimizer on."""

    precision = "fp32"

    def __init__(self, model, feeds, threads):
        import tensorflow.compat.v1 as tf

        self.tf, self.feeds, self.outputs, self.threads = tf, feeds, model.outputs, threads
        self.version = tf.__version__
        self.graph_def = tf.GraphDef()
        with open(model.path, "rb") as f:
            self.graph_def.ParseFromString(f.read())
        self.session = self._session()

    def _session(self, optimizer=True):
        tf = self.tf
        config = tf.ConfigProto(intra_op_parallelism_threads=self.threads, inter_op_parallelism_threads=self.threads)
        rewrites = config.graph_options.rewrite_options
        rewrites.disable_meta_optimizer = not optimizer
        if self.precision == "bf16":
            rewrites.auto_mixed_precision_onednn_bfloat16 = rewrites.ON
        graph = tf.Graph()
        with graph.as_default():
            tf.import_graph_def(self.graph_def, name="")
        return tf.Session(graph=graph, config=config)

    def run(self):
        return self.session.run(self.outputs, self.feeds)

    def reference(self):
        """The answers of the graph as written."""
        with self._session(optimizer=False) as session:
            return session.run(self.outputs, self.feeds)

    def close(self):
        self.session.close()


class TensorFlowBf16(TensorFlow):
    """The same with TensorFlow's own rewrite to bfloat16."""

    precision = "bf16"


class OnnxRuntime:
    """ONNX Runtime on the converted model, its defaults but for the number of threads."""

    def __init__(self, model, feeds, threads):
        import onnxruntime

        self.version = onnxruntime.__version__
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(onnx_path(model), options, providers=["CPUExecutionProvider"])
        self.feeds, self.outputs = feeds, model.outputs

    def run(self):
        return self.session.run(self.outputs, self.feeds)

    def close(self):
        del self.session


class OpenVino:
    """OpenVINO with the latency hint and the feed's shapes; from ONNX, or from the graph where that fails."""

    precision = "f32"

    def __init__(self, model, feeds, threads):
        import openvino

        self.version = openvino.__version__.split("-")[0]
        core = openvino.Core()
        try:
            network = core.read_model(onnx_path(model))
        except RuntimeError as error:
            print(f"note: openvino reads {model.name} from the .pb ({error})", flush=True)
            network = core.read_model(model.path)
        names = {name: port for port in network.inputs for name in port.get_names()}
        network.reshape({names[name]: list(value.shape) for name, value in feeds.items()})
        compiled = core.compile_model(network, "CPU", {
            "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": str(threads),
            "INFERENCE_PRECISION_HINT": self.precision})
        self.request = compiled.create_infer_request()
        self.ports = [compiled.output(name) for name in model.outputs]
        self.feeds = {compiled.input(name): value for name, value in feeds.items()}

    def run(self):
        answer = self.request.infer(self.feeds)
        return [answer[port] for port in self.ports]

    def close(self):
        del self.request


class OpenVinoBf16(OpenVino):
    precision = "bf16"


def blade_optimized(model, feeds, threads, precision, tuned=True):
    """Optimizes the model for these feeds; returns the optimized file and the context that it runs in."""
    import blade

    batch = next(iter(feeds.values())).shape[:1]
    folder = CACHE / "blade" / f"{model.name}-{'x'.join(map(str, batch))}-{precision}-{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    copy = folder / "model.pb"
    shutil.copyfile(model.path, copy)
    config = blade.Config()
    config.cpu_config.precision = precision
    config.cpu_config.num_threads = threads
    config.tuning.disable_perf_check = not tuned
    if model.tolerance is not None:  # in bfloat16 the tolerances count twenty times
        config.accuracy.rtol = max(config.accuracy.rtol, model.tolerance / (20 if precision == "bf16" else 1))
    path, spec, report = blade.optimize(str(copy), "o1", device_type="cpu", config=config,
                                        outputs=[name.split(":")[0] for name in model.outputs], test_data=[feeds])
    (folder / "report.json").write_text(report.to_json())
    return str(path), spec, folder


class Blade:
    """blade.Engine on the optimized file, without TensorFlow."""

    precision, tuned = "fp32", True

    def __init__(self, model, feeds, threads):
        import blade

        self.version = blade.__version__
        path, _, self.folder = blade_optimized(model, feeds, threads, self.precision, self.tuned)
        self.engine = blade.Engine(path, outputs=model.outputs, num_threads=threads)
        self.feeds, self.outputs = feeds, model.outputs

    def run(self):
        answer = self.engine.run(self.feeds)
        return [answer[name] for name in self.outputs]

    def close(self):
        del self.engine
        shutil.rmtree(self.folder, ignore_errors=True)


class BladeStatic(Blade):
    """blade.Engine on the graph as it is: kernels chosen by prediction, none by measurement."""

    def __init__(self, model, feeds, threads):
        import blade

        self.version = blade.__version__
        self.engine = blade.Engine(model.path, outputs=model.outputs, num_threads=threads)
        self.feeds, self.outputs = feeds, model.outputs

    def close(self):
        del self.engine


class BladeBf16(Blade):
    precision = "bf16"


class BladeStaticBf16(BladeBf16):
    """The same with kernels chosen by prediction."""

    tuned = False


class BladeTensorFlow(TensorFlow):
    """The optimized graph in a TensorFlow session, with the one import that deployment needs."""

    precision = "fp32"

    def __init__(self, model, feeds, threads):
        import dataclasses

        import blade
        import blade.runtime.tensorflow  # noqa: F401

        path, spec, self.folder = blade_optimized(model, feeds, threads, self.precision)
        self.stack = contextlib.ExitStack()
        self.stack.enter_context(spec)
        super().__init__(dataclasses.replace(model, path=path), feeds, threads)
        self.version = f"{blade.__version__} in {self.version}"

    def close(self):
        super().close()
        self.stack.close()
        shutil.rmtree(self.folder, ignore_errors=True)


ENGINES = {"tensorflow": TensorFlow, "tensorflow-bf16": TensorFlowBf16, "onnxruntime": OnnxRuntime, "openvino": OpenVino,
           "openvino-bf16": OpenVinoBf16, "blade": Blade, "blade-static": BladeStatic, "blade-bf16": BladeBf16,
           "blade-static-bf16": BladeStaticBf16, "blade-tf": BladeTensorFlow}


def time_block(run, warm_up_s, runs, least_s, pause_s):
    """Seconds of each of at least `runs` runs over at least `least_s`, after a warm-up of that time and 5 runs.

    Every run is `pause_s` after the one before it: an application that calls now and then finds pools asleep."""
    start, done = time.perf_counter(), 0
    while done < 5 or time.perf_counter() - start < warm_up_s:
        if pause_s:
            time.sleep(pause_s)
        run()
        done += 1
    times, start = [], time.perf_counter()
    while len(times) < runs or time.perf_counter() - start < least_s:
        if pause_s:
            time.sleep(pause_s)
        before = time.perf_counter()
        run()
        times.append(time.perf_counter() - before)
    return times


def serve(connection, name):
    """The worker: answers ('load', model, feeds, threads), ('block', ...) and ('close',) until the pipe closes."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    engine = None
    while True:
        try:
            command, *arguments = connection.recv()
        except EOFError:
            return
        try:
            if command == "load":
                engine = ENGINES[name](*arguments)
                reference = engine.reference() if name == "tensorflow" else None
                answer = {"version": engine.version, "outputs": [np.asarray(v) for v in engine.run()],
                          "reference": reference}
            elif command == "block":
                answer = time_block(engine.run, *arguments)
            else:
                engine.close()
                engine = answer = None
            connection.send(("ok", answer))
        except Exception as error:  # any engine may raise anything: it becomes a note in the table
            if not isinstance(error, (ImportError, RuntimeError)):
                traceback.print_exc()
            lines = str(error).strip().splitlines() or ["no message"]
            connection.send(("failed", f"{type(error).__name__}: {lines[0][:300]}"))
