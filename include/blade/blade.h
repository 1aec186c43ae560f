/* The C interface of Blade: load an optimized or plain TensorFlow model and run it without TensorFlow or Python, and
 * optimize models. Plain C99, stable ABI: functions are only added.
 *
 * Every function that can fail returns a blade_status; on anything but BLADE_OK, blade_last_error() gives one sentence
 * that says what was found, what was expected and what to do. Handles may be used from many threads at once. */
#ifndef BLADE_BLADE_H_
#define BLADE_BLADE_H_

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define BLADE_API
#else
#define BLADE_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum blade_status {
  BLADE_OK = 0,
  BLADE_INVALID_ARGUMENT = 1,    /* the caller's input is wrong */
  BLADE_NOT_FOUND = 2,           /* a file, node, input or output does not exist */
  BLADE_UNIMPLEMENTED = 3,       /* valid, but Blade does not cover it */
  BLADE_DATA_LOSS = 4,           /* a file is truncated or corrupted */
  BLADE_RESOURCE_EXHAUSTED = 5,  /* memory, disk or a budget ran out */
  BLADE_FAILED_PRECONDITION = 6, /* right call, wrong machine or version */
  BLADE_UNAVAILABLE = 7,         /* something optional (TensorFlow, a GPU) is absent */
  BLADE_CANCELLED = 8,           /* of no call yet: who stops blade_optimize() gets BLADE_OK and the best so far */
  BLADE_INTERNAL = 9,
  BLADE_OUT_OF_PROFILE = 10 /* the shapes are outside the engine's profile */
} blade_status;

typedef enum blade_dtype {
  BLADE_INVALID_DTYPE = 0,
  BLADE_FLOAT32 = 1,
  BLADE_FLOAT64 = 2,
  BLADE_FLOAT16 = 3,
  BLADE_BFLOAT16 = 4,
  BLADE_INT8 = 5,
  BLADE_INT16 = 6,
  BLADE_INT32 = 7,
  BLADE_INT64 = 8,
  BLADE_UINT8 = 9,
  BLADE_UINT16 = 10,
  BLADE_UINT32 = 11,
  BLADE_UINT64 = 12,
  BLADE_BOOL = 13,
  BLADE_STRING = 14 /* in test data only: data holds its element count + 1 int64 offsets, then the bytes they divide */
} blade_dtype;

#define BLADE_MAX_RANK 16

/* A dense row-major tensor. dims of -1 stand for unknown (only in descriptions of inputs and outputs). */
typedef struct blade_tensor {
  blade_dtype dtype;
  int32_t rank; /* -1: unknown (only in descriptions) */
  int64_t dims[BLADE_MAX_RANK];
  void* data;
  size_t bytes; /* of data; for outputs: capacity on entry, size on return */
} blade_tensor;

typedef struct blade_engine blade_engine;

typedef struct blade_engine_options {
  size_t struct_size;         /* sizeof(blade_engine_options): lets later versions add fields */
  int32_t num_threads;        /* 0: as many as the process may use */
  int32_t max_cached_plans;   /* plans kept for shapes met; 0: the default, 16 */
  int32_t use_reference;      /* nonzero: naive kernels, for accuracy questions */
  const char* const* outputs; /* node or tensor names or keys to compute; NULL: the model's own */
  int32_t num_outputs;
  const char* signature; /* which of a SavedModel's signatures; NULL: 'serving_default', or the only one */
  const char* device; /* "cpu", "gpu" or "auto"; NULL: what the model was optimized for, the CPU where that is absent */
  const char*
      tensorflow_dir; /* of libtensorflow_cc.so.2, for blade_inspect: which shapes what stays gives; NULL: none */
  /* Bytes of the GPU's memory that the engine may hold; 0: as many as there are. What the driver and NVIDIA's libraries
   * (cuDNN, cuBLASLt) take for themselves, once a process, is not counted. */
  int64_t device_memory_limit;
} blade_engine_options;

BLADE_API const char* blade_version(void);
/* The sentence of the calling thread's last failed call; "" if none. Valid until its next failing call. */
BLADE_API const char* blade_last_error(void);

/* Loads an optimized or plain frozen GraphDef (.pb, .pbtxt), a frozen SavedModel directory or an engine file.
 * options may be NULL. */
BLADE_API blade_status blade_engine_load(const char* path, const blade_engine_options* options, blade_engine** engine);

/* Loads an engine file from memory, without copying it: `release(release_arg)` is called once when the bytes are no
 * longer needed, also when loading fails. release may be NULL when the bytes outlive the engine. */
BLADE_API blade_status blade_engine_load_memory(const void* bytes, size_t size, void (*release)(void*),
                                                void* release_arg, const blade_engine_options* options,
                                                blade_engine** engine);
/* The same where the engine file stands in pieces, in their order, as optimized graphs hold large ones. It may be cut
 * where a weight begins. */
typedef struct blade_bytes {
  const void* data;
  size_t size;
} blade_bytes;
BLADE_API blade_status blade_engine_load_pieces(const blade_bytes* pieces, int32_t num_pieces, void (*release)(void*),
                                                void* release_arg, const blade_engine_options* options,
                                                blade_engine** engine);
BLADE_API void blade_engine_free(blade_engine* engine);

BLADE_API int32_t blade_engine_num_inputs(const blade_engine* engine);
BLADE_API int32_t blade_engine_num_outputs(const blade_engine* engine);
/* Names live as long as the engine; NULL when index is out of range. `description` (dtype, rank, dims) may be NULL. */
BLADE_API const char* blade_engine_input(const blade_engine* engine, int32_t index, blade_tensor* description);
/* The key of an input in the signature of the SavedModel directory that was loaded; it lives as long as the engine.
 * NULL where there is none: for plain graphs, engine files, blade_engine_load_memory; also when index is out of range.
 */
BLADE_API const char* blade_engine_input_key(const blade_engine* engine, int32_t index);
/* Placeholders that a TensorFlow session could be fed and the engine is not: no output needs them, or their default is
 * built in (a constant, or computed from constants alone). `value` (may be NULL) is that default, of which nothing may
 * be written; its dtype is BLADE_INVALID_DTYPE where there is none. Names live as long as the engine; NULL when index
 * is out of range. What keys mean, blade_engine_find_inputs() tells. */
BLADE_API const char* blade_engine_unread_input(const blade_engine* engine, int32_t index, blade_tensor* value);
/* Whether a value for such a placeholder changes nothing: BLADE_INVALID_ARGUMENT, with a sentence, where it is another
 * one than the default that is built in. NaN equals NaN. */
BLADE_API blade_status blade_engine_check_unread_input(const blade_engine* engine, int32_t index,
                                                       const blade_tensor* value);
/* The inputs that users' names mean: a node's name or a tensor's ("NAME:0"), or a key of the signature of the
 * SavedModel directory that was loaded. indices[i] is the index of names[i] for blade_engine_input or, from
 * blade_engine_num_inputs() on, that plus its index for blade_engine_unread_input. BLADE_INVALID_ARGUMENT where a name
 * means no input, or two (it is the name of one of the signature's inputs and the key of another), and where two names
 * mean one. */
BLADE_API blade_status blade_engine_find_inputs(const blade_engine* engine, const char* const* names, int32_t count,
                                                int32_t* indices);
BLADE_API const char* blade_engine_output(const blade_engine* engine, int32_t index, blade_tensor* description);
/* The output that a name means; a key is meant before another output's name. -1 where it means none. */
BLADE_API int32_t blade_engine_find_output(const blade_engine* engine, const char* name);
/* The key of an output in that signature, as blade_engine_input_key; NULL where the options name the outputs, too. */
BLADE_API const char* blade_engine_output_key(const blade_engine* engine, int32_t index);

/* Checks the inputs' dtypes and shapes, plans them if they are new, and describes the outputs (dtype, rank, dims,
 * bytes). `outputs` may be NULL. Where an output's size depends on the inputs' elements and not only on their shapes
 * (the boxes that a detector finds), its unknown dims are -1 (or its rank is) and its bytes are 0: run with
 * blade_engine_run_with, or give blade_engine_run enough memory for the largest size. BLADE_OUT_OF_PROFILE when the
 * engine has a profile that does not hold them. A run is expected to follow: the engine's threads are woken for it. */
BLADE_API blade_status blade_engine_prepare(blade_engine* engine, const blade_tensor* inputs, int32_t num_inputs,
                                            blade_tensor* outputs, int32_t num_outputs);

/* Runs with caller-owned memory. inputs in the order of blade_engine_input. Each output needs data of enough bytes (see
 * blade_engine_prepare); dtype, rank, dims and bytes are filled in. */
BLADE_API blade_status blade_engine_run(blade_engine* engine, const blade_tensor* inputs, int32_t num_inputs,
                                        blade_tensor* outputs, int32_t num_outputs);

/* Runs and asks `allocate` once an output, when its size is known, for memory of description->bytes; NULL from it fails
 * the run. Outputs may be asked for in any order, while the run is under way. */
typedef void* (*blade_allocate_output)(void* arg, int32_t index, const blade_tensor* description);
BLADE_API blade_status blade_engine_run_with(blade_engine* engine, const blade_tensor* inputs, int32_t num_inputs,
                                             blade_allocate_output allocate, void* arg);

/* For an engine on a GPU all of whose steps run there: puts one run on the caller's `stream` (a cudaStream_t; NULL: the
 * default stream) and returns. `data` of inputs and outputs is device memory, aligned to 16 bytes, of which nothing is
 * copied; it must stay until the stream has passed the run. Each output needs bytes enough; dtype, rank, dims and bytes
 * are filled in. Shapes and addresses met before are started by one call of the driver. */
BLADE_API blade_status blade_engine_run_on_device(blade_engine* engine, const blade_tensor* inputs, int32_t num_inputs,
                                                  blade_tensor* outputs, int32_t num_outputs, void* stream);

/* Texts below are JSON, owned by the caller: free them with blade_free. */
BLADE_API void blade_free(void* memory);

/* Regions, kernels, refused kernels with reasons, memory plan. `inputs` (descriptions, data ignored) may be NULL: then
 * only what does not depend on shapes. */
BLADE_API blade_status blade_engine_explain(blade_engine* engine, const blade_tensor* inputs, int32_t num_inputs,
                                            char** json);
/* Times each step over `repetitions` runs: [{"node", "op", "kernel", "median_us", "gflops", "gbytes"}, ...]. One of
 * several steps that take strips of rows together has theirs in "steps": there "median_us" is what one thread spends in
 * the step, on average, and the rates are the work of all threads over that time. */
BLADE_API blade_status blade_engine_profile(blade_engine* engine, const blade_tensor* inputs, int32_t num_inputs,
                                            int32_t repetitions, char** json);
/* Microseconds of `repetitions` runs by the device's own clock, after one that copies the inputs there: `microseconds`
 * has room for them. For an engine on a GPU all of whose steps run there. */
BLADE_API blade_status blade_engine_device_times(blade_engine* engine, const blade_tensor* inputs, int32_t num_inputs,
                                                 int32_t repetitions, double* microseconds);
/* Ops, inputs, outputs, coverage with reasons, of a model file; nothing is built. Of the options (may be NULL) the
 * outputs, the signature and the TensorFlow count. */
BLADE_API blade_status blade_inspect(const char* path, const blade_engine_options* options, char** json);
/* {"x": "float32", ...} of a model's placeholders, under their names and a signature's keys; path, bytes and size as in
 * blade_optimize_request. */
BLADE_API blade_status blade_placeholder_types(const char* path, const void* bytes, size_t size, const char* signature,
                                               char** json);
/* Every TensorFlow op that Blade knows: {"ops": [{"op", "covered", "types", "reason"}, ...], "kernels": [{"op",
 * "rows"}, ...]}; the kernels are those of Blade's own ops, in the order in which they are tried. */
BLADE_API blade_status blade_op_table(char** json);
/* Every option of blade_optimize(): [{"name", "kind", "default", "doc", "device"}, ...]; names of nested fields have
 * dots.
 */
BLADE_API blade_status blade_option_table(char** json);
/* What is usable on this machine, and why the rest is not. `tensorflow_dir` (of libtensorflow_cc.so.2) may be NULL. */
BLADE_API blade_status blade_doctor(const char* tensorflow_dir, char** json);

/* Runs since the process started: inside engines, and handed back to the original graph by the TensorFlow op library.
 */
BLADE_API void blade_count_fallback(const char* why); /* counts, and logs `why` where it is not NULL */
BLADE_API uint64_t blade_engine_runs(void);
BLADE_API uint64_t blade_fallback_runs(void);

/* One feed: names[i] -> tensors[i]. */
typedef struct blade_feed {
  const char* const* names; /* as for blade_engine_find_inputs */
  const blade_tensor* tensors;
  int32_t count;
} blade_feed;

typedef struct blade_optimize_request {
  size_t struct_size;
  const char* model_path;  /* .pb, .pbtxt or SavedModel directory; or NULL and: */
  const void* model_bytes; /* a serialized GraphDef */
  size_t model_size;
  const char* options_json;    /* an object with the options of blade_option_table() */
  const blade_feed* test_data; /* may be NULL */
  int32_t num_test_data;
  /* Called with percent and phase; a nonzero return asks to stop with the best so far. May be NULL. */
  int32_t (*progress)(void* arg, int32_t percent, const char* phase);
  void* progress_arg;
} blade_optimize_request;

typedef struct blade_optimize_result blade_optimize_result;
BLADE_API blade_status blade_optimize(const blade_optimize_request* request, blade_optimize_result** result);
BLADE_API const void* blade_optimize_model(const blade_optimize_result* result, size_t* size); /* serialized GraphDef */
BLADE_API const char* blade_optimize_report(const blade_optimize_result* result);              /* JSON */
BLADE_API const char* blade_optimize_report_html(const blade_optimize_result* result);         /* a page */
/* Writes the model as path or SavedModel directory in the form of the request's input; appears whole or not at all. */
BLADE_API blade_status blade_optimize_write(const blade_optimize_result* result, const char* path);
BLADE_API void blade_optimize_free(blade_optimize_result* result);

#ifdef __cplusplus
}
#endif

#endif /* BLADE_BLADE_H_ */
