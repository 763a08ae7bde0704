#!/bin/sh
# Generates the Swift code of the .proto files anew. Needs protoc (protobuf-compiler) and Python 3, at development time only.
set -eu
cd "$(dirname "$0")/.."
plugin=--plugin=protoc-gen-martlet=Tools/protoc-gen-martlet

generate() { # directory, options, files
    out=$1 options=$2
    shift 2
    mkdir -p "$out"
    protoc -Iproto "$plugin" "--martlet_out=$out" "--martlet_opt=$options" "$@"
}

rm -rf Sources/ControlAPI/Generated Sources/RPC/Generated
generate Sources/ControlAPI/Generated import=Protobuf,import=RPC,namespace=martlet.v1:Wire proto/martlet/v1/*.proto
for service in health/v1:HealthV1 reflection/v1:ReflectionV1 reflection/v1alpha:ReflectionV1Alpha; do
    path=${service%%:*}
    package=grpc.$(echo "$path" | tr / .)
    generate Sources/RPC/Generated "import=Protobuf,nested=true,namespace=$package:${service##*:}" proto/grpc/"$path"/*.proto
done

# What the tests speak.
out=Tests/EchoService/Generated
rm -rf "$out" && mkdir -p "$out"
protoc -ITests/interop "$plugin" "--martlet_out=$out" \
    --martlet_opt=import=Protobuf,import=RPC,namespace=martlet.test.v1:EchoV1 Tests/interop/echo.proto
