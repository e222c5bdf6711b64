/* Input for GCC itself, run as a WASI program. */
typedef unsigned char byte;
static unsigned crc(const byte *p, unsigned n) {
  unsigned c = ~0u;
  while (n--) {
    c ^= *p++;
    for (int k = 0; k < 8; k++) c = c & 1 ? c >> 1 ^ 0xedb8u : c >> 1;
  }
  return ~c;
}
struct point { int x, y; };
long distance(const struct point *a, const struct point *b) {
  long dx = a->x - b->x, dy = a->y - b->y;
  return dx * dx + dy * dy;
}
unsigned checksum(void) {
  static const byte text[] = "the quick brown fox";
  return crc(text, sizeof text - 1);
}
