/* The same from C, with memory that the caller owns. */
#include <blade/blade.h>
#include <stdio.h>
#include <stdlib.h>

static int fail(const char* what) {
  fprintf(stderr, "%s: %s\n", what, blade_last_error());
  return 1;
}

int main(int argc, char** argv) {
  blade_engine* engine = NULL;
  blade_tensor input, output = {0};
  int32_t i;
  if (argc != 2) return fprintf(stderr, "usage: run_in_c MODEL.pb\n"), 2;
  if (blade_engine_load(argv[1], NULL, &engine) != BLADE_OK) return fail("load");
  if (blade_engine_num_inputs(engine) != 1 || blade_engine_num_outputs(engine) < 1) {
    fprintf(stderr, "this example takes models with one input\n");
    return 2;
  }
  blade_engine_input(engine, 0, &input);
  input.bytes = 4;
  for (i = 0; i < input.rank; ++i) {
    if (input.dims[i] < 0) input.dims[i] = 1;
    input.bytes *= (size_t)input.dims[i];
  }
  input.data = calloc(1, input.bytes);
  if (blade_engine_prepare(engine, &input, 1, &output, 1) != BLADE_OK) return fail("prepare");
  output.data = malloc(output.bytes);
  if (blade_engine_run(engine, &input, 1, &output, 1) != BLADE_OK) return fail("run");
  printf("%s: rank %d, %zu bytes\n", blade_engine_output(engine, 0, NULL), (int)output.rank, output.bytes);
  free(output.data);
  free(input.data);
  blade_engine_free(engine);
  return 0;
}
