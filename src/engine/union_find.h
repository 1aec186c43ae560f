// Disjoint sets of numbers, for growing regions and sharing memory.
#pragma once

#include <numeric>
#include <vector>

namespace blade::engine {

class UnionFind {
 public:
  explicit UnionFind(int size) : parent_(size) { std::iota(parent_.begin(), parent_.end(), 0); }
  int find(int i) {
    while (parent_[i] != i) i = parent_[i] = parent_[parent_[i]];
    return i;
  }
  // a's representative stands for both.
  void join(int a, int b) { parent_[find(b)] = find(a); }

 private:
  std::vector<int> parent_;
};

}  // namespace blade::engine
