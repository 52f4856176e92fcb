#include "workload.hpp"

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  bench::diamond::Cells cells;
  // The plain call: through a pointer, as any engine that learns its bodies at run time must.
  void (*volatile call)(bench::diamond::Cell&) = [](bench::diamond::Cell& cell) { ++cell.count; };
  bench::diamond::measure("serial", options, cells, [&] {
    call(cells.root);
    for (auto& cell : cells.middle) call(cell);
    call(cells.join);
  });
}
