// Runs a model on a constant image and prints the largest value of its first output: no TensorFlow, no Python.
#include <algorithm>
#include <blade/blade.hpp>
#include <iostream>

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: classify MODEL.pb\n";
    return 2;
  }
  try {
    blade::Engine engine(argv[1]);
    std::vector<std::vector<float>> data;
    std::vector<blade_tensor> inputs;
    for (const blade::Engine::Info& info : engine.inputs()) {
      std::vector<int64_t> dims(info.description.dims, info.description.dims + std::max(info.description.rank, 0));
      size_t count = 1;
      for (int64_t& dim : dims) {
        dim = std::max<int64_t>(dim, 1);  // unknown dims: one image
        count *= static_cast<size_t>(dim);
      }
      data.emplace_back(count, 0.5f);
      inputs.push_back(blade::view(data.back().data(), dims));
    }
    const std::vector<blade::Tensor> outputs = engine.run(inputs);
    const float* begin = outputs.at(0).data<float>();
    const float* best = std::max_element(begin, begin + outputs[0].size<float>());
    std::cout << engine.outputs().at(0).name << ": element " << best - begin << " is largest, " << *best << "\n";
  } catch (const blade::Error& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
  return 0;
}
