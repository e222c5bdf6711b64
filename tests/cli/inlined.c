// Built by hand, into inlined.wasm (committed):
//   clang-22 --target=wasm32-wasip1 -g -O1 -nostdlib --no-wasm-opt -Wl,--no-entry -Wl,--export=run -ffile-prefix-map=$PWD= -o inlined.wasm inlined.c
// `read` and `pick` disappear into `run`; `deep` stays a function.

static int table[4] = {1, 2, 3, 4};

__attribute__((always_inline)) static inline int read(const int *at) {
  return *(volatile const int *)at; // line 8: traps
}

__attribute__((always_inline)) static inline int pick(unsigned index) {
  return read(table + index) + 1; // line 12
}

__attribute__((noinline)) static int deep(unsigned index) {
  if (index > 1000)
    return pick(index) * 3; // line 17
  return table[index & 3];
}

int run(unsigned index) {
  return deep(index) + 1; // line 22
}
