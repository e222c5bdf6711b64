// C++ streams, strings, containers, algorithms and locale-free formatting.
#include <algorithm>
#include <cstdio>
#include <iomanip>
#include <iostream>
#include <map>
#include <memory>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

struct Shape {
  virtual ~Shape() = default;
  virtual double area() const = 0;
};
struct Square : Shape {
  double side;
  explicit Square(double s) : side(s) {}
  double area() const override { return side * side; }
};
struct Disc : Shape {
  double radius;
  explicit Disc(double r) : radius(r) {}
  double area() const override { return 3.14159265358979 * radius * radius; }
};

int main(int argc, char **argv) {
  std::vector<std::unique_ptr<Shape>> shapes;
  for (int i = 1; i < 6; i++) {
    if (i % 2) shapes.push_back(std::make_unique<Square>(i));
    else shapes.push_back(std::make_unique<Disc>(i));
  }
  double sum = std::accumulate(shapes.begin(), shapes.end(), 0.0, [](double s, auto &p) { return s + p->area(); });
  std::cout << std::fixed << std::setprecision(6) << sum << "\n";
  std::map<std::string, int> counts;
  std::istringstream in("the quick brown fox jumps over the lazy dog the end");
  for (std::string word; in >> word;) counts[word]++;
  for (auto &[word, n] : counts) std::cout << std::setw(6) << std::left << word << n << '\n';
  std::cout << std::hex << std::showbase << 48879 << ' ' << std::dec << -12345678901234LL << ' ' << 1e-300 << '\n';
  std::vector<int> v(1000);
  unsigned x = 12345;
  for (auto &e : v) e = (x = x * 1103515245u + 12345u) >> 16 & 0x7fff;
  std::sort(v.begin(), v.end(), std::greater<>());
  std::cout << v.front() << ' ' << v[500] << ' ' << v.back() << '\n';
  if (argc > 1) {
    std::string path = std::string(argv[1]) + "/cpp.txt";
    // Debian's libc++ for wasm has no <fstream>; C streams reach the same system calls.
    FILE *out = std::fopen(path.c_str(), "w");
    for (int i = 0; i < 10000; i++) std::fprintf(out, "%d %g\n", i, i * 0.5);
    std::fclose(out);
    FILE *back = std::fopen(path.c_str(), "r");
    long long total = 0;
    double halves = 0, d = 0;
    int lines = 0;
    for (int i; std::fscanf(back, "%d %lf", &i, &d) == 2; lines++) { total += i; halves += d; }
    std::cout << lines << ' ' << total << ' ' << halves << ' ' << std::ftell(back) << '\n';
    std::fclose(back);
    std::remove(path.c_str());
    std::cout << (std::fopen(path.c_str(), "r") == nullptr) << '\n';
  }
  return 3;
}
