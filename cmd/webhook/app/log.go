package app

import (
	"fmt"
	"io"

	"github.com/go-logr/logr"
	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logLevel maps a name to zap's level. logr's V(1) is zap's debug.
func logLevel(name string) (zapcore.Level, error) {
	switch name {
	case "debug":
		return zapcore.DebugLevel, nil
	case "info":
		return zapcore.InfoLevel, nil
	case "error":
		return zapcore.ErrorLevel, nil
	}
	return 0, fmt.Errorf("%q is none of debug, info, error", name)
}

func newLogger(level, format string, out io.Writer) (logr.Logger, error) {
	l, err := logLevel(level)
	if err != nil {
		return logr.Logger{}, err
	}
	config := zap.NewProductionEncoderConfig()
	config.EncodeTime = zapcore.ISO8601TimeEncoder
	encoder := zapcore.NewJSONEncoder(config)
	if format == "console" {
		encoder = zapcore.NewConsoleEncoder(config)
	}
	return zapr.NewLogger(zap.New(zapcore.NewCore(encoder, zapcore.AddSync(out), l))), nil
}
