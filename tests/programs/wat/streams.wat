;; Functions over streams and futures, which JSON can't carry, beside one that can be
;; offered.
(component
  (core module $module
    (func (export "take") (param i32))
    (func (export "answer") (result i32) i32.const 42))
  (core instance $instance (instantiate $module))
  (type $bytes (stream u8))
  (type $later (future string))
  (func (export "read-stream") (param "source" $bytes)
    (canon lift (core func $instance "take")))
  (func (export "await-future") (param "value" $later)
    (canon lift (core func $instance "take")))
  (func (export "answer") (result u32) (canon lift (core func $instance "answer"))))
