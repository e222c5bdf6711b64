;; What fuzzing found, smallest form. Each group says what went wrong.

;; A divisor loaded by the division itself: its fault by zero was told as one of memory.
(module
  (memory 1)
  (func (export "div") (param i64 i32) (result i64) (i64.div_u (local.get 0) (i64.load (local.get 1))))
  (func (export "rem") (param i32 i32) (result i32) (i32.rem_u (local.get 0) (i32.load (local.get 1)))))
(assert_trap (invoke "div" (i64.const 7) (i32.const 16)) "integer divide by zero")
(assert_trap (invoke "rem" (i32.const 7) (i32.const 16)) "integer divide by zero")
(assert_trap (invoke "div" (i64.const 7) (i32.const -4)) "out of bounds memory access")
(assert_trap (invoke "rem" (i32.const 7) (i32.const 65533)) "out of bounds memory access")
