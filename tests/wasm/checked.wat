;;! checked interruption
;; Explicit bounds checks with masks, and loops that can be interrupted.
(module
  (memory $m 1)
  (memory $fixed 2 2)
  (func (param i32) (result i64)
    (loop (br_if 0 (i32.load8_u offset=3 (local.get 0))))
    (i64.load $fixed offset=8 (local.get 0))))
