;; Data segments that lie at the end of a memory of 16 MiB, and one that is never used.
;; `last` is the memory's last byte: 42.
(component
  (core module $module
    (memory 256)
    (data (i32.const 0) "first")
    (data (i32.const 16777215) "\2a")
    (data "passive")
    (func (export "last") (result i32)
      i32.const 16777215
      i32.load8_u))
  (core instance $instance (instantiate $module))
  (func (export "last") (result u8) (canon lift (core func $instance "last"))))
