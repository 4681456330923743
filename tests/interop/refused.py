"""What tests of both kinds ask of a call that must fail; needs python3-grpcio."""
import unittest

import grpc


class Refused(unittest.TestCase):
    def assert_refused(self, status, call):
        """The machine code and the sentence with which the call is refused."""
        with self.assertRaises(grpc.RpcError) as caught:
            call()
        error = caught.exception
        self.assertEqual(error.code(), status, error.details())
        codes = [v for k, v in error.trailing_metadata() or () if k == "shunt-code"]
        return (codes[0] if codes else ""), error.details()
