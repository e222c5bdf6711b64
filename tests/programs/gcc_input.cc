// Input for GCC's C++ compiler, run as a WASI program.
template <class T, int N> struct Ring {
  T items[N];
  unsigned head = 0, tail = 0;
  bool push(const T &t) { if ((head + 1) % N == tail) return false; items[head] = t; head = (head + 1) % N; return true; }
  bool pop(T &t) { if (head == tail) return false; t = items[tail]; tail = (tail + 1) % N; return true; }
};
struct Base { virtual int value() const = 0; };
struct Derived : Base { int v; explicit Derived(int v) : v(v) {} int value() const override { return v * 3; } };
int sum() {
  Ring<Derived *, 8> ring;
  Derived a(1), b(2), c(3);
  ring.push(&a); ring.push(&b); ring.push(&c);
  int total = 0;
  for (Derived *d; ring.pop(d);) total += d->value();
  auto twice = [&](int k) { return total * k; };
  return twice(2);
}
