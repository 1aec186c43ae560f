// Runs models for checking and timing.
#include "optimizer/runners.h"

namespace blade::optimizer {
namespace {

class TensorFlowRunner : public Runner {
 public:
  TensorFlowRunner(std::unique_ptr<TensorFlowSession> session, Feed fixed, std::vector<std::string> outputs)
      : session_(std::move(session)), fixed_(std::move(fixed)), outputs_(std::move(outputs)) {}

  Result<std::vector<ir::TensorPtr>> outputs(const Feed& feed) override { return session_->run(whole(feed), outputs_); }

  Result<Runnable> runnable(const Feed& feed) override {
    BLADE_ASSIGN_OR_RETURN(std::shared_ptr<TensorFlowSession::Call> call, session_->prepare(whole(feed), outputs_));
    return Runnable([call] { return call->run(); });
  }

 private:
  Feed whole(Feed feed) const {
    feed.insert(feed.end(), fixed_.begin(), fixed_.end());
    return feed;
  }

  std::unique_ptr<TensorFlowSession> session_;
  Feed fixed_;  // what is fed beside the model's inputs
  std::vector<std::string> outputs_;
};

// Keeps the outputs of the last run; memory is reused while sizes stay.
class KeptOutputs : public engine::OutputSink {
 public:
  void* allocate(int index, ir::DType dtype, const ir::Dims& dims) override {
    if (static_cast<size_t>(index) >= tensors_.size()) tensors_.resize(index + 1);
    ir::NewTensor& kept = tensors_[index];
    if (kept.tensor == nullptr || kept.tensor->dtype != dtype || kept.tensor->dims != dims) {
      auto made = ir::allocate_tensor(dtype, dims);
      if (!made.ok()) return nullptr;
      kept = *std::move(made);
    }
    static std::byte empty;  // a zero-sized tensor may have no memory
    return kept.data != nullptr ? kept.data : &empty;
  }
  std::vector<ir::TensorPtr> take() {
    std::vector<ir::TensorPtr> taken;
    for (ir::NewTensor& kept : tensors_) taken.push_back(std::move(kept.tensor));
    tensors_.clear();
    return taken;
  }

 private:
  std::vector<ir::NewTensor> tensors_;
};

std::vector<engine::TensorRef> to_refs(const Feed& feed) {
  std::vector<engine::TensorRef> refs;
  for (const NamedTensor& one : feed) refs.push_back({one.tensor->dtype, one.tensor->dims, one.tensor->data});
  return refs;
}

class EngineRunner : public Runner {
 public:
  explicit EngineRunner(std::shared_ptr<engine::Engine> engine) : engine_(std::move(engine)) {}

  Result<std::vector<ir::TensorPtr>> outputs(const Feed& feed) override {
    KeptOutputs kept;
    BLADE_RETURN_IF_ERROR(engine_->run(to_refs(feed), kept));
    return kept.take();
  }

  Result<Runnable> runnable(const Feed& feed) override {
    return Runnable([engine = engine_, feed, refs = to_refs(feed), kept = std::make_shared<KeptOutputs>()] {
      return engine->run(refs, *kept);
    });
  }

 private:
  std::shared_ptr<engine::Engine> engine_;
};

}  // namespace

Result<std::unique_ptr<Runner>> make_tensorflow_runner(const TensorFlowApi& api, std::string_view graph_def,
                                                       const SessionConfig& config, std::vector<std::string> outputs) {
  BLADE_ASSIGN_OR_RETURN(std::unique_ptr<TensorFlowSession> session, TensorFlowSession::create(api, graph_def, config));
  return std::unique_ptr<Runner>(
      std::make_unique<TensorFlowRunner>(std::move(session), config.fixed, std::move(outputs)));
}

std::unique_ptr<Runner> make_engine_runner(std::shared_ptr<engine::Engine> engine) {
  return std::make_unique<EngineRunner>(std::move(engine));
}

AccuracyResult check_run(Runner& runner, const Feed& feed, const std::vector<std::string>& names,
                         const std::vector<ir::TensorPtr>& expected, const AccuracyOptions& options) {
  const auto got = runner.outputs(feed);
  if (!got.ok()) {
    AccuracyResult none = does_not_hold(names.at(0), "the run fails: " + got.status().message());
    none.run_failed = true;
    return none;
  }
  return check_accuracy(names, expected, *got, options);
}

}  // namespace blade::optimizer
